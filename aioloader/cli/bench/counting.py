"""What is kept of a run: when batches came, which samples they held, and what they took.

A run is measured from a mark on, and its time begins there: the first batch after a sixth of its time. Until then
workers start and pipelines fill. It is measured to the first batch after its time: both ends are then batches that were
waited for, and what was under way at the one is as much as at the other. Modes that load a batch's samples one after
another come in waves, some batches at once (their quantum), and are measured over whole waves: the mark is the end of
the first, and where that took longer than the run's time, the run ends there and all of it counts.
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


@dataclass(frozen=True, slots=True)
class _Reading:
    """What had come by ``at_s``, and the CPU it took."""

    at_s: float
    samples: int
    cpu_s: float


class Count:
    """Counts one run of at most ``expected`` samples."""

    def __init__(self, expected: int, seconds: float, quantum: int) -> None:
        self._expected = expected
        self._seconds = seconds
        self._quantum = min(quantum, expected)
        self._ids: list[NDArray[np.int64]] = []
        self._samples = 0
        self._first_checksum = 0
        self._first_batch_s = 0.0
        self._begin = self._last = _Reading(0.0, 0, tree.cpu_s())
        self._mark: _Reading | None = None
        self._is_over = False
        self._started = perf_counter()

    def add(self, arrays: Sequence[NDArray[np.generic]], ids: NDArray[np.int64]) -> bool:
        """One batch, now; whether the run is over with it."""
        now = perf_counter() - self._started
        if not self._ids:
            self._first_batch_s = now
            self._first_checksum = checksum_of(arrays)
        self._ids.append(np.array(ids, np.int64))
        self._samples += len(ids)
        is_mark = self._mark is None and self._samples >= self._quantum and now >= self._seconds * _FILLING_SHARE
        self._is_over = self._samples >= self._expected
        if is_mark:
            self._is_over |= self._quantum > 0 and now > self._seconds
        elif self._mark is not None and now > self._mark.at_s + self._seconds:
            waves_samples = self._samples - self._mark.samples
            self._is_over |= self._quantum == 0 or waves_samples % self._quantum == 0
        if is_mark or self._is_over:  # else nobody needs the CPU, which takes a look at each thread of the tree
            self._last = _Reading(now, self._samples, tree.cpu_s())
        if is_mark:
            self._mark = self._last
        return self._is_over

    def figures(self) -> Figures:
        """The record of the run, once it is over."""
        if not self._is_over:  # the mode ended too early, which makes it invalid
            self._last = _Reading(perf_counter() - self._started, self._samples, tree.cpu_s())
        last = self._last
        first = self._begin if self._mark is None or self._mark is last else self._mark
        counted, seconds = last.samples - first.samples, last.at_s - first.at_s
        return Figures(
            samples=self._samples,
            samples_per_s=counted / seconds if seconds > 0 else 0.0,
            first_batch_s=self._first_batch_s,
            cpu_s_per_1000=max(last.cpu_s - first.cpu_s, 0.0) / counted * 1000 if counted else 0.0,
            seconds=last.at_s,
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
