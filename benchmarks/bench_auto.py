"""Does "auto" for all four knobs do what the best fixed settings do, and does the verdict name the right limit?

    python benchmarks/bench_auto.py [--rounds 7] [--only 3,7] [--out docs/notes/auto.md] [--json FILE]

For each of the scenarios in `scenarios.py`: one run of each cell of a coarse sweep; then "auto", the best `TOP` of
them and the scenario's own fixed knobs, interleaved, each in a process of its own that knows nothing: samples a second
of the last `LAST_S` seconds, for "auto" after `AUTO_S`. The bucket is nginx (`aioloader serve` where it is missing).
The verdict is asked for at the end of each run and compared with what `scenarios.py` expects.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from itertools import accumulate
from math import comb
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from harness import environment
from race.bucket import bucket
from scenarios import BATCH_SIZE, CELLS, N_OBJECTS, OBJECT_BYTES, SCENARIOS, Calibration, calibrated, decoder

import aioloader as al

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scenarios import Knobs, Scenario

SWEEP_S, FIXED_S, AUTO_S, LAST_S = 2.5, 3.5, 13.0, 2.5
TOP = 3
AUTO = "auto"
_DOUBT = 0.0625


def names() -> list[str]:
    """Of the objects."""
    return [f"{index:05d}.bin" for index in range(N_OBJECTS)]


def fill(folder: Path) -> None:
    """Objects that begin with their number."""
    for index, name in enumerate(names()):
        (folder / name).write_bytes(index.to_bytes(8, "little") + bytes(OBJECT_BYTES - 8))


def watch(url: str, scenario: Scenario, rounds: Calibration, knobs: Knobs, seconds: float) -> dict[str, Any]:
    """Read for ``seconds`` in this process; the rate of the last `LAST_S`, the verdict, and where the knobs are."""
    with al.Loader(
        al.from_samples(names(), root=url),
        decode=decoder(scenario.decode, rounds),
        batch_size=BATCH_SIZE,
        shuffle=True,
        seed=0,
        **knobs,
    ) as loader:
        began_s = perf_counter()
        mark: tuple[float, int] | None = None
        seen = 0
        for batch in loader.epochs(10**6):
            seen += len(batch.sample_ids)
            if scenario.step_s:
                sleep(scenario.step_s)
            now_s = perf_counter() - began_s
            if mark is None and now_s >= seconds - LAST_S:
                mark = now_s, seen
            elif mark is not None and now_s >= seconds:
                verdict = loader.verdict()
                return {
                    "per_s": (seen - mark[1]) / (now_s - mark[0]),
                    "limit": verdict.limit,
                    "sentence": verdict.sentence,
                    "settings": asdict(loader.settings),
                    "changes": [f"{change.knob}={change.value}: {change.reason}" for change in loader.changes],
                }
    raise AssertionError  # epochs do not end


def measured(url: str, number: int, rounds: Calibration, knobs: Knobs, seconds: float) -> dict[str, Any]:
    """The same in a process of its own."""
    task = json.dumps({"url": url, "number": number, "rounds": asdict(rounds), "knobs": knobs, "seconds": seconds})
    done = subprocess.run(
        [sys.executable, __file__, "--watch", task], check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def shown(knobs: Knobs) -> str:
    """``256 in flight, 2 processes``."""
    kind = "process" if knobs["use_multiprocessing"] else "thread"
    plural = ("es" if kind == "process" else "s") if knobs["workers"] > 1 else ""
    return f"{knobs['concurrency']}, {knobs['workers']} {kind}{plural}"


def lower_bound(ratios: Sequence[float]) -> float:
    """The median of many such ratios lies above it with 94 % (sign test: of seven it is the second smallest)."""
    ordered = sorted(ratios)
    chances = accumulate(comb(len(ordered), below) / 2 ** len(ordered) for below in range(len(ordered)))
    return ordered[max(sum(chance <= _DOUBT for chance in chances) - 1, 0)]


def compared(number: int, rounds: Calibration, repeats: int) -> dict[str, Any]:
    """One scenario."""
    scenario = SCENARIOS[number]
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name))
        with bucket(Path(name), scenario.latency_s) as server:
            sweep = [(measured(server.url, number, rounds, cell, SWEEP_S)["per_s"], cell) for cell in CELLS]
            sweep.sort(key=lambda pair: -pair[0])
            cases: dict[str, tuple[Knobs, float]] = {AUTO: ({}, AUTO_S)}
            cases |= {shown(cell): (cell, FIXED_S) for _, cell in sweep[:TOP]}
            runs: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
            own = []
            order = random.Random(number)
            for _ in range(repeats):
                for case in order.sample(list(cases), len(cases)):
                    runs[case].append(measured(server.url, number, rounds, *cases[case]))
                own.append(measured(server.url, number, rounds, scenario.fixed, FIXED_S))
            kind = server.kind
    rates = {case: [run["per_s"] for run in some] for case, some in runs.items()}
    best = max((case for case in cases if case != AUTO), key=lambda case: median(rates[case]))
    ratios = [auto / fixed for auto, fixed in zip(rates[AUTO], rates[best], strict=True)]
    return {
        "scenario": scenario.name,
        "bucket": kind,
        "sweep": [(shown(cell), rate) for rate, cell in sweep],
        "rates": rates,
        "best": best,
        "ratio": median(ratios),
        "lower": lower_bound(ratios),
        "ratios": ratios,
        "fixed": shown(scenario.fixed),
        "fixed_limits": Counter(run["limit"] for run in own),
        "fixed_expected": scenario.fixed_limits,
        "auto_limits": Counter(run["limit"] for run in runs[AUTO]),
        "auto_expected": scenario.auto_limits,
        "auto_settings": [run["settings"] for run in runs[AUTO]],
        "auto_changes": [run["changes"] for run in runs[AUTO]],
        "auto_sentence": runs[AUTO][-1]["sentence"],
        "fixed_sentence": own[-1]["sentence"],
    }


HEAD = (
    "| scenario | best of the sweep | samples/s | auto came to | samples/s | median ratio | lower bound "
    "| fixed knobs: verdict | auto: verdict |\n|---|---|---:|---|---:|---:|---:|---|---|"
)


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    best, rates = result["best"], result["rates"]
    came_to = Counter(shown(settings) for settings in result["auto_settings"]).most_common(1)[0][0]

    def verdicts(found: Counter[str], expected: Sequence[str]) -> str:
        right = sum(count for limit, count in found.items() if limit in expected)
        return f"{', '.join(found)} ({right} of {sum(found.values())} as expected)"

    return (
        f"| {result['scenario']} | {best} | {median(rates[best]):,.0f} | {came_to} | {median(rates[AUTO]):,.0f} "
        f"| {result['ratio']:.2f} | {result['lower']:.2f} "
        f"| {result['fixed']}: {verdicts(result['fixed_limits'], result['fixed_expected'])} "
        f"| {verdicts(result['auto_limits'], result['auto_expected'])} |"
    )


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--only", help="numbers of scenarios, from 1")
    options.add_argument("--out", type=Path)
    options.add_argument("--json", type=Path)
    options.add_argument("--watch", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.watch:
        task = json.loads(chosen.watch)
        rounds = Calibration(**task["rounds"])
        print(json.dumps(watch(task["url"], SCENARIOS[task["number"]], rounds, task["knobs"], task["seconds"])))
        return
    numbers = [int(number) - 1 for number in chosen.only.split(",")] if chosen.only else range(len(SCENARIOS))
    rounds, results, lines = calibrated(), [], [HEAD]
    print(HEAD, flush=True)
    for number in numbers:
        results.append(compared(number, rounds, chosen.rounds))
        lines.append(row(results[-1]))
        print(lines[-1], flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps({"environment": environment(), "results": results}, indent=1) + "\n")
    machine = ", ".join(f"{key} {value}" for key, value in environment().items())
    closing = f"{chosen.rounds} interleaved rounds; {machine}"
    print(f"\n{closing}")
    if chosen.out:
        chosen.out.write_text("\n".join([*lines, "", closing]) + "\n")


if __name__ == "__main__":
    main()
