"""What is kept of each batch: when it came, which samples it held, and a few of their bytes."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIDE = 10_007
"""Every so many bytes of a sample go into the checksum: some 15 of an image, enough to tell two apart."""


class Count:
    """Counts samples by id. The checksum weighs a sample's bytes by its id, so that two exchanged samples change it."""

    def __init__(self, expected: int) -> None:
        self._seen = np.zeros(expected, np.int64)
        self._checksum = 0
        self._strangers = 0
        self._arrivals: list[float] = []
        self._sizes: list[int] = []
        self._cpu = {"cpu_at_start_s": tree_cpu_s()}
        self._started = perf_counter()

    def add(self, samples: NDArray[np.uint8], ids: NDArray[np.int64]) -> None:
        """One batch, now; ``samples`` (N, ...), ``ids`` (N,)."""
        self.mark(len(ids))
        known = ids[(ids >= 0) & (ids < len(self._seen))]
        self._strangers += len(ids) - len(known)
        self._seen += np.bincount(known, minlength=len(self._seen))
        self._checksum += checksum_of(samples, ids)

    def mark(self, samples: int) -> None:
        """The end of a step over ``samples`` samples, now."""
        self._arrivals.append(perf_counter() - self._started)
        self._sizes.append(samples)
        if len(self._arrivals) == 1:
            self._cpu["cpu_at_first_s"] = tree_cpu_s()

    def result(self) -> dict[str, Any]:
        """The record of the run, as JSON takes it."""
        self._cpu["cpu_at_end_s"] = tree_cpu_s()
        return {
            "distinct": int((self._seen > 0).sum()),
            "samples": int(self._seen.sum()) + self._strangers,
            "checksum": self._checksum,
            "arrivals_s": self._arrivals,
            "sizes": self._sizes,
            **self._cpu,
        }


def checksum_of(samples: NDArray[np.uint8], ids: NDArray[np.int64]) -> int:
    """A few bytes of each sample, weighed by its id; the sum over an epoch does not depend on its order."""
    few = samples.reshape(len(samples), -1)[:, ::STRIDE].astype(np.int64)
    return int((few.sum(axis=1) * (ids + 1)).sum())


def tree_cpu_s() -> float:
    """User and system seconds of this process, of its ended children and of its living descendants."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = sum(map(int, fields[11:15]))
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return seconds + sum(ticks[pid] for pid in mine - {os.getpid()}) / os.sysconf("SC_CLK_TCK")
