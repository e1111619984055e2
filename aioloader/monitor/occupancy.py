"""The share of time a queue was not empty: 1.0 means the consumer is the slower side."""

from __future__ import annotations

from time import monotonic


class Occupancy:
    """Told of every change in length; not locked."""

    def __init__(self) -> None:
        self._started = self._changed = monotonic()
        self._length = 0
        self._busy_s = 0.0
        self._area = 0.0
        self.peak = 0

    def update(self, length: int) -> None:
        """The queue now holds ``length`` items."""
        now = monotonic()
        self._settle(now)
        self._length = length
        self.peak = max(self.peak, length)

    def _settle(self, now: float) -> None:
        elapsed = now - self._changed
        if self._length:
            self._busy_s += elapsed
            self._area += elapsed * self._length
        self._changed = now

    def share(self) -> float:
        """Share of the time so far with at least one item, 0 to 1."""
        now = monotonic()
        self._settle(now)
        total = now - self._started
        return self._busy_s / total if total else 0.0

    def mean(self) -> float:
        """Mean length over the time so far."""
        now = monotonic()
        self._settle(now)
        total = now - self._started
        return self._area / total if total else 0.0
