"""How long requests take by the size of what they bring, and from when on one is late: pure arithmetic."""

from __future__ import annotations

import math
from typing import Final

_KEPT: Final = 256
_LOOK_EVERY: Final = 32
_KNOWN: Final = 96
"""Requests before anything is said of a size: the first ones open connections."""
_LATE: Final = 0.95
_SLOW: Final = 2.0
"""Nothing is late before it took so many times the median: where all take about the same, asking twice helps nobody."""
_LEAST_S: Final = 0.02
LARGEST_BYTES: Final = 8 << 20
"""Larger bodies are late for their size, not for a sick server."""


class Tail:
    """The latest requests for bodies of about one size."""

    __slots__ = ("_count", "_latest", "largest_bytes", "late_after_s")

    def __init__(self) -> None:
        self._latest = [0.0] * _KEPT
        self._count = 0
        self.largest_bytes = 0
        """Of those whose size nobody had known."""
        self.late_after_s = math.inf
        """A request that takes longer is among the slowest twentieth."""

    def record(self, elapsed_s: float) -> None:
        """One was answered after ``elapsed_s``."""
        self._latest[self._count % _KEPT] = elapsed_s
        self._count += 1
        if self._count % _LOOK_EVERY == 0 and self._count >= _KNOWN:
            ordered = sorted(self._latest[: self._count])
            late_s, median_s = ordered[int(_LATE * len(ordered))], ordered[len(ordered) // 2]
            self.late_after_s = max(late_s, _SLOW * median_s, _LEAST_S)


class Tails:
    """One origin's, by size class: each holds bodies of up to four times the size of its smallest."""

    def __init__(self) -> None:
        self._by_class: dict[int, Tail] = {}

    def of(self, nbytes: int | None) -> Tail | None:
        """That of bodies of ``nbytes``, None where size is unknown; None for those that are never asked for twice."""
        if nbytes is None:
            size_class = -1
        elif nbytes > LARGEST_BYTES:
            return None
        else:
            size_class = nbytes.bit_length() // 2
        tail = self._by_class.get(size_class)
        if tail is None:
            tail = self._by_class[size_class] = Tail()
        return tail

    @property
    def soonest_s(self) -> float:
        """The age at which a request may first be late."""
        return min((tail.late_after_s for tail in self._by_class.values()), default=math.inf)


class Allowance:
    """How many requests may be made twice: ``share`` of all, and no more than ``MOST`` saved up."""

    MOST: Final = 10.0

    def __init__(self) -> None:
        self._saved = 0.0

    def earn(self, share: float) -> None:
        """A request was made."""
        if self._saved < self.MOST:
            self._saved += share

    def spend(self) -> bool:
        """Whether one may be made twice now; then it is paid."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
