"""What is kept of a run: when each batch came, which samples it held, and what they took.

A run is measured from a mark on, and its time begins there: the first batch after a sixth of its time. Until then
workers start and pipelines fill. Modes that fetch a batch's samples one after another come in waves, some batches at
once (their quantum): their mark is the end of the first wave, and where that took longer than the run's time, the run
ends there and all of it counts. It is measured to the last batch before its time is over: one that comes later came
after a wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from aioloader.cli.bench import tree
from aioloader.cli.bench.task import Figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FILLING_SHARE = 1 / 6
_CPU_READINGS = 20
"""In a run: each looks at every thread of the process tree."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """All that had come by ``at_s``; ``cpu_s`` is None where nobody looked."""

    at_s: float
    samples: int
    cpu_s: float | None


class Count:
    """Counts one run of at most ``expected`` samples."""

    def __init__(self, expected: int, seconds: float, quantum: int) -> None:
        self._expected = expected
        self._seconds = seconds
        self._quantum = min(quantum, expected)
        self._ids: list[NDArray[np.int64]] = []
        self._first_checksum = 0
        self._readings = [_Reading(0.0, 0, tree.cpu_s())]
        self._cpu_read_s = 0.0
        self._mark = 0
        self._is_over = False
        self._started = perf_counter()

    def add(self, arrays: Sequence[NDArray[np.generic]], ids: NDArray[np.int64]) -> bool:
        """One batch, now; whether the run is over with it."""
        now = perf_counter() - self._started
        if not self._ids:
            self._first_checksum = checksum_of(arrays)
        self._ids.append(np.array(ids, np.int64))
        samples = self._readings[-1].samples + len(ids)
        is_mark = not self._mark and samples >= self._quantum and now >= self._seconds * _FILLING_SHARE
        if is_mark:
            self._mark = len(self._readings)
        self._is_over = samples >= self._expected
        if self._mark:
            is_slow_wave = is_mark and self._quantum > 0 and now > self._seconds
            self._is_over |= is_slow_wave or (not is_mark and now > self._readings[self._mark].at_s + self._seconds)
        is_read = is_mark or self._is_over or now > self._cpu_read_s + self._seconds / _CPU_READINGS
        if is_read:
            self._cpu_read_s = now
        self._readings.append(_Reading(now, samples, tree.cpu_s() if is_read else None))
        return self._is_over

    def figures(self) -> Figures:
        """The record of the run, once it is over."""
        readings = self._readings
        first, last = readings[self._mark], readings[-1]
        in_time = [one for one in readings[self._mark + 1 :] if one.at_s <= first.at_s + self._seconds]
        if not self._mark or len(readings) == self._mark + 1:
            first = readings[0]
        elif in_time:
            last = in_time[-1]
        read = [one for one in readings if first.at_s < one.at_s <= last.at_s and one.cpu_s is not None] or [last]
        counted, seconds = last.samples - first.samples, last.at_s - first.at_s
        cpu_s, cpu_samples = (read[-1].cpu_s or 0.0) - (first.cpu_s or 0.0), read[-1].samples - first.samples
        return Figures(
            samples=readings[-1].samples,
            samples_per_s=counted / seconds if seconds > 0 else 0.0,
            first_batch_s=readings[1].at_s if len(readings) > 1 else 0.0,
            cpu_s_per_1000=max(cpu_s, 0.0) / cpu_samples * 1000 if cpu_samples else 0.0,
            seconds=readings[-1].at_s,
            first_checksum=self._first_checksum,
            why_invalid=self._why_invalid(),
        )

    def _why_invalid(self) -> str:
        """Batches come in order, so that the samples so far are the data's beginning, each once."""
        ids = np.concatenate(self._ids) if self._ids else np.zeros(0, np.int64)
        if len(ids) == 0:
            return "it gave no batch"
        wanted = np.arange(min(len(ids), self._expected) if self._is_over else self._expected)
        lost, strange = len(np.setdiff1d(wanted, ids)), len(np.setdiff1d(ids, wanted))
        repeated = len(ids) - len(np.unique(ids))
        counts = {"lost": lost, "repeated": repeated, "that were not due": strange}
        words = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"of {len(wanted)} samples {words}" if words else ""


def checksum_of(arrays: Sequence[NDArray[np.generic]]) -> int:
    """Of all bytes of a batch."""
    checksum = 0
    for array in arrays:
        checksum = crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, checksum)
    return checksum
