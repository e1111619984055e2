"""Interleaved repeats, paired ratios, and a Markdown table that names versions and cores."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LIBRARIES = ("aioloader", "aiohttp", "uvloop", "numpy", "obstore", "pillow", "keras", "tensorflow")

Results = dict[str, list[float]]
"""Case name to one figure a round, in the order of rounds: equal indices were measured side by side."""


def interleaved(
    cases: Mapping[str, Callable[[], float]], repeats: int = 5, *, warm_up: bool = True, seed: int = 0
) -> Results:
    """Run every case once a round, in another order each round, for ``repeats`` rounds.

    A case returns its figure (seconds, samples/s, ...) itself, so that it decides what is timed. ``warm_up`` runs
    an uncounted round first. What a case raises is raised.
    """
    order = random.Random(seed)
    results: Results = {name: [] for name in cases}
    for round_number in range(-1 if warm_up else 0, repeats):
        for name in order.sample(list(cases), len(cases)):
            figure = cases[name]()
            if round_number >= 0:
                results[name].append(figure)
    return results


def quartiles(figures: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; of one figure it is three times itself."""
    if len(figures) == 1:
        return figures[0], figures[0], figures[0]
    low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
    return low, middle, high


def paired_ratios(results: Results, name: str) -> list[float]:
    """``name``'s figure over the first case's, round by round."""
    first = next(iter(results.values()))
    return [figure / base for figure, base in zip(results[name], first, strict=True)]


def environment() -> dict[str, str]:
    """Cores this process may use, platform, Python, and the versions of the installed libraries."""
    # The affinity mask, where there is one, knows a container's limit better than cpu_count.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"cores": str(cores), "platform": platform.platform(), "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def report(title: str, results: Results, *, unit: str, json_path: Path | None = None) -> str:
    """A Markdown table of ``results``; the raw figures go to ``json_path`` as JSON where one is given."""
    machine = environment()
    rounds = len(next(iter(results.values())))
    lines = [
        f"### {title}",
        "",
        f"| case | median, {unit} | quartiles | least to most | ratio to first (quartiles) |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, figures in results.items():
        low, middle, high = quartiles(figures)
        ratio_low, ratio, ratio_high = quartiles(paired_ratios(results, name))
        lines.append(
            f"| {name} | {middle:.4g} | {low:.4g} to {high:.4g} | {min(figures):.4g} to {max(figures):.4g} "
            f"| {ratio:.4g} ({ratio_low:.4g} to {ratio_high:.4g}) |"
        )
    lines += ["", f"{rounds} interleaved rounds; " + ", ".join(f"{key} {value}" for key, value in machine.items())]
    if json_path is not None:
        record = {"title": title, "unit": unit, "results": results, "environment": machine}
        json_path.write_text(json.dumps(record, indent=2) + "\n")
    return "\n".join(lines)
