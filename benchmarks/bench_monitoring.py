"""What does watching cost? One loader whose pulse is now on, now off, in turns.

    python benchmarks/bench_monitoring.py [--window 1] [--pairs 60]

Tiny samples from files in the page cache and a decoder that computes for some 0.15 ms, so that about 5,000 samples come
a second; every knob is fixed, so that nothing but the watching differs. Off: `Pulse._beat` only sets its timer again (a
hook of this file; what is counted by the sample goes on). Ratios are taken between neighbouring windows. What others do
on the machine touches the CPU time of a sample far less than samples a second; beats are timed by themselves as well.
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
LOOPS = 2_500
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
    """A fixed amount of Python."""
    total = data[0]
    for number in range(LOOPS):
        total = (total * 31 + number) & 0xFFFF
    return np.frombuffer(data, "uint8")


def in_turns(data: al.Dataset, switch: Switch, window_s: float, pairs: int) -> tuple[Results, Results]:
    """Samples a second, and µs of CPU a sample, in windows of which one of two is watched, the first or the second."""
    order = random.Random(0)
    rates: Results = {"not watched": [], "watched": []}
    cpu_us: Results = {"not watched": [], "watched": []}
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

        def window(seconds: float) -> tuple[float, float]:
            count, started, cpu_s = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - started < seconds:
                count += len(next(batches)[0])
            return count / (time.perf_counter() - started), 1e6 * (time.process_time() - cpu_s) / count

        window(WARM_UP_S)
        for _ in range(pairs):
            for name in order.sample(list(rates), 2):
                switch.on = name == "watched"
                rate, cpu = window(window_s)
                rates[name].append(rate)
                cpu_us[name].append(cpu)
    return rates, cpu_us


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--window", type=float, default=1.0, help="seconds")
    options.add_argument("--pairs", type=int, default=60)
    chosen = options.parse_args()
    switch = Switch()
    with tempfile.TemporaryDirectory() as folder, switch.built_in():
        for index in range(FILES):
            (Path(folder) / f"{index:06d}.bin").write_bytes(bytes(64))
        data = al.image_folder(folder, extensions=".bin", label_mode=None)
        rates, cpu_us = in_turns(data, switch, chosen.window, chosen.pairs)
    for title, unit, results in (("Samples a second", "samples/s", rates), ("CPU of a sample", "µs", cpu_us)):
        print(report(f"{title}, watched and not", results, unit=unit))
        ratios = paired_ratios(results, "watched")
        low, high = median_interval(ratios)
        print(f"watched over not, by pairs: median {median(ratios):.4f}, 90 % interval {low:.4f} to {high:.4f}\n")
    beats_us, walls_us = ([1e6 * taken for taken in beats] for beats in (switch.cpu_s, switch.wall_s))
    print(
        f"{len(beats_us)} beats, {1 / EVERY_S:.0f} a second: {median(beats_us):.0f} µs of CPU each "
        f"({median(walls_us):.0f} by the wall, at most {max(walls_us):.0f}): "
        f"{sum(switch.cpu_s) / len(beats_us) / EVERY_S:.3%} of a core"
    )


if __name__ == "__main__":
    main()
