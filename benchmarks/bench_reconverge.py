"""How soon does "auto" come back to nine tenths of what can be had after the situation has changed in mid-run?

    python benchmarks/bench_reconverge.py [--rounds 5] [--only 1,3] [--out FILE]

Three turns: the latency goes from 10 to 150 ms; the bucket begins to refuse what is above 500 requests a second; the
consumer becomes four times faster, beyond what threads can decode with the GIL. Before each turn the loader has
`SETTLED_S` seconds. What can be had afterwards is measured in each round too, by a loader with good fixed knobs that
knows only the situation after the turn. Back again: the first moment from which `STEADY_S` seconds give nine tenths.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

from bench_auto import fill, names
from changing_bucket import changing_bucket
from harness import environment
from scenarios import BATCH_SIZE, Calibration, calibrated, decoder

import aioloader as al

SETTLED_S, AFTER_S, STEADY_S, FIXED_S = 12.0, 24.0, 2.0, 6.0
SHARE = 0.9
Manners = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """Manners, and samples a second of the consumer, before and after; ``good`` knobs for what is after."""

    name: str
    before: Manners
    after: Manners
    good: dict[str, Any]
    decode: str = "trivial"
    step_s: tuple[float, float] = (0.0, 0.0)
    best_per_s: float | None = None
    """Where it follows from the situation: what a limit lets through."""


THREADS = {"workers": 2, "use_multiprocessing": False, "max_queue_size": 8}
TURNS = (
    Turn("latency 10 to 150 ms", {"latency_s": 0.01}, {"latency_s": 0.15}, {"concurrency": 512, **THREADS}),
    Turn(
        "a limit of 500/s appears",
        {"latency_s": 0.02},
        {"latency_s": 0.02, "rate_limit_per_s": 500.0, "rate_limit_burst": 50},
        {"concurrency": 16, **THREADS},
        best_per_s=500.0,
    ),
    Turn(
        "the consumer four times faster",
        {"latency_s": 0.01},
        {"latency_s": 0.01},
        {"concurrency": 64, "workers": 2, "use_multiprocessing": True, "max_queue_size": 8},
        decode="GIL-bound",
        step_s=(BATCH_SIZE / 100, BATCH_SIZE / 400),
    ),
)


def watch(turn: Turn, folder: Path, rounds: Calibration, *, is_auto: bool) -> dict[str, Any]:
    """Samples a second by tenths of a second: of the time after the turn, or of a loader that knows nothing else."""
    manners = turn.before if is_auto else turn.after
    with (
        changing_bucket(folder, manners) as (url, change),
        al.Loader(
            al.from_samples(names(), root=url),
            decode=decoder(turn.decode, rounds),
            batch_size=BATCH_SIZE,
            shuffle=True,
            seed=0,
            **({} if is_auto else turn.good),
        ) as loader,
    ):
        began_s = perf_counter()
        turned_s = None if is_auto else 0.0
        came: list[tuple[float, int]] = []
        refused = 0
        for batch in loader.epochs(10**6):
            step_s = turn.step_s[turned_s is not None]
            if step_s:
                sleep(step_s)
            now_s = perf_counter() - began_s
            if turned_s is None and now_s >= SETTLED_S:
                change(turn.after)
                turned_s = now_s
                refused = loader.stats().engine.requests.throttled
            elif turned_s is not None:
                came.append((now_s - turned_s, len(batch.sample_ids)))
                if now_s - turned_s >= (AFTER_S if is_auto else FIXED_S):
                    break
        return {
            "came": came,
            "refused": loader.stats().engine.requests.throttled - refused,
            "changes": [f"{change.knob}={change.value}: {change.reason}" for change in loader.changes],
        }


def measured(number: int, folder: Path, rounds: Calibration, *, is_auto: bool) -> dict[str, Any]:
    """The same in a process of its own."""
    task = json.dumps({"number": number, "folder": str(folder), "rounds": asdict(rounds), "is_auto": is_auto})
    command = [sys.executable, __file__, "--watch", task]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rate(came: list[tuple[float, int]], first_s: float, last_s: float) -> float:
    """Samples a second between two moments."""
    return sum(samples for at_s, samples in came if first_s < at_s <= last_s) / (last_s - first_s)


def back_after(came: list[tuple[float, int]], wanted_per_s: float) -> float:
    """Seconds until `STEADY_S` seconds give ``wanted_per_s``; infinite where they never do."""
    for tenth in range(int((AFTER_S - STEADY_S) * 10)):
        if rate(came, tenth / 10, tenth / 10 + STEADY_S) >= wanted_per_s:
            return tenth / 10
    return float("inf")


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", help="numbers of turns, from 1")
    options.add_argument("--out", type=Path)
    options.add_argument("--watch", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.watch:
        task = json.loads(chosen.watch)
        rounds = Calibration(**task["rounds"])
        print(json.dumps(watch(TURNS[task["number"]], Path(task["folder"]), rounds, is_auto=task["is_auto"])))
        return
    numbers = [int(number) - 1 for number in chosen.only.split(",")] if chosen.only else range(len(TURNS))
    rounds = calibrated()
    lines = [
        "| turn | good fixed knobs, samples/s | back at 90 % after, s | least to most | last 8 s by fixed |",
        "|---|---:|---:|---|---:|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name))
        for number in numbers:
            turn, seconds, shares, best = TURNS[number], [], [], []
            for round_number in range(chosen.rounds):
                runs = {}
                for is_auto in random.Random(round_number).sample([True, False], 2):
                    runs[is_auto] = measured(number, Path(name), rounds, is_auto=is_auto)
                best.append(turn.best_per_s or rate(runs[False]["came"], 2.0, FIXED_S))
                seconds.append(back_after(runs[True]["came"], SHARE * best[-1]))
                shares.append(rate(runs[True]["came"], AFTER_S - 8, AFTER_S) / best[-1])
            lines.append(
                f"| {turn.name} | {median(best):,.0f} | {median(seconds):.1f} "
                f"| {min(seconds):.1f} to {max(seconds):.1f} "
                f"| {median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) |"
            )
            print(lines[-1], flush=True)
    machine = ", ".join(f"{key} {value}" for key, value in environment().items())
    lines += ["", f"{chosen.rounds} rounds; {machine}"]
    print("\n" + lines[-1])
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
