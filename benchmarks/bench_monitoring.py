"""What does watching cost? One loader whose pulse is now on, now off, in turns.

    python benchmarks/bench_monitoring.py [--window 1] [--pairs 60] [--json FILE]

Tiny samples from files in the page cache and a decoder that is busy for 0.15 ms, so that about 5,000 samples come a
second; every knob is fixed, so that nothing but the watching differs. Off: `Pulse._beat` only sets its timer again (a
hook of this file; what is counted by the sample goes on). Ratios are taken between neighbouring windows. The noise of a
shared machine is larger than what is looked for, so beats are timed as well: CPU and wall time on the loop.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
from harness import paired_ratios, report
from race.figures import median_interval

import aioloader as al
from aioloader.engine.pulse import EVERY_S, Pulse

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from harness import Results
    from numpy.typing import NDArray

FILES = 2048
BATCH_SIZE = 32
DECODE_S = 0.15e-3
WARM_UP_S = 2.0


class Switch:
    """Whether streams are watched, and what the beats took while they were."""

    def __init__(self) -> None:
        self.on = True
        self.cpu_s: list[float] = []
        self.wall_s: list[float] = []

    @contextmanager
    def built_in(self) -> Iterator[None]:
        """Every pulse of this process asks here at each beat."""
        beat = Pulse._beat

        def asking(pulse: Pulse, loop: asyncio.AbstractEventLoop) -> None:
            if not self.on:
                pulse._timer = loop.call_later(EVERY_S, asking, pulse, loop)
                return
            wall_s, cpu_s = time.perf_counter(), time.thread_time()
            beat(pulse, loop)
            self.cpu_s.append(time.thread_time() - cpu_s)
            self.wall_s.append(time.perf_counter() - wall_s)

        with patch.object(Pulse, "_beat", asking):
            yield


def decode(data: bytes) -> NDArray[np.uint8]:
    """Busy for `DECODE_S`."""
    until = time.perf_counter() + DECODE_S
    while time.perf_counter() < until:
        pass
    return np.frombuffer(data, "uint8")


def in_turns(data: al.Dataset, switch: Switch, window_s: float, pairs: int) -> Results:
    """Samples a second in windows that are watched and windows that are not, pair by pair in another order."""
    order = random.Random(0)
    results: Results = {"not watched": [], "watched": []}
    with al.Loader(
        data,
        decode=decode,
        batch_size=BATCH_SIZE,
        concurrency=16,
        workers=1,
        use_multiprocessing=False,
        max_queue_size=8,
    ) as loader:
        batches = loader.epochs(1_000_000)

        def per_s(seconds: float) -> float:
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                count += len(next(batches)[0])
            return count / (time.perf_counter() - started)

        per_s(WARM_UP_S)
        for _ in range(pairs):
            for name in order.sample(list(results), 2):
                switch.on = name == "watched"
                results[name].append(per_s(window_s))
    return results


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--window", type=float, default=1.0, help="seconds")
    options.add_argument("--pairs", type=int, default=60)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    switch = Switch()
    with tempfile.TemporaryDirectory() as folder, switch.built_in():
        for index in range(FILES):
            (Path(folder) / f"{index:06d}.bin").write_bytes(bytes(64))
        data = al.image_folder(folder, extensions=".bin", label_mode=None)
        results = in_turns(data, switch, chosen.window, chosen.pairs)
    print(report("A loader of tiny samples, watched and not", results, unit="samples/s", json_path=chosen.json))
    ratios = paired_ratios(results, "watched")
    low, high = median_interval(ratios)
    print(f"watched over not watched, by pairs: median {median(ratios):.4f}, 90 % interval {low:.4f} to {high:.4f}")
    cpu_us, wall_us = ([1e6 * taken for taken in beats] for beats in (switch.cpu_s, switch.wall_s))
    print(
        f"{len(cpu_us)} beats, {1 / EVERY_S:.0f} a second: {median(cpu_us):.0f} µs of CPU each "
        f"({median(wall_us):.0f} by the wall, at most {max(wall_us):.0f}): "
        f"{sum(switch.cpu_s) / len(cpu_us) / EVERY_S:.3%} of a core"
    )


if __name__ == "__main__":
    main()
