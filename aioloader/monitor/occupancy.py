"""The share of time a queue was not empty: 1.0 means the consumer is the slower side."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Occupancy:
    """Told of every change in length, by one thread at a time; any thread may read.

    A queue may have parts, each told of by itself: while a stream is handed over there are two.
    """

    def __init__(self, clock_s: Callable[[], float] = monotonic) -> None:
        self._clock_s = clock_s
        self._started = self._changed = clock_s()
        self._length = 0
        self._parts: dict[int, int] = {}
        self._busy_s = 0.0
        self._area = 0.0
        self.peak = 0

    def update(self, length: int, part: int = 0) -> None:
        """The queue, or this part of it, now holds ``length`` items."""
        if length:
            self._parts[part] = length
        else:
            self._parts.pop(part, None)
        length = sum(tuple(self._parts.values()))
        now = self._clock_s()
        elapsed = now - self._changed
        if self._length:
            self._busy_s += elapsed
            self._area += elapsed * self._length
        self._changed = now
        self._length = length
        self.peak = max(self.peak, length)

    def restart(self) -> None:
        """Count from now: what lay waiting before the consumer came says nothing of it."""
        self._started = self._changed = self._clock_s()
        self._busy_s = self._area = 0.0
        self.peak = self._length

    @property
    def length(self) -> int:
        """Items now."""
        return self._length

    def busy_s(self) -> float:
        """Seconds with at least one item."""
        return self._busy_s + (self._clock_s() - self._changed if self._length else 0.0)

    def area_s(self) -> float:
        """Items times seconds."""
        return self._area + (self._clock_s() - self._changed) * self._length

    def share(self) -> float:
        """Share of the time so far with at least one item, 0 to 1."""
        total = self._clock_s() - self._started
        return min(self.busy_s() / total, 1.0) if total else 0.0

    def mean(self) -> float:
        """Mean length over the time so far."""
        total = self._clock_s() - self._started
        return self.area_s() / total if total else 0.0
