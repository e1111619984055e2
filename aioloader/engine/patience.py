"""When a consumer that waits calls it a stall."""

from __future__ import annotations

from time import monotonic

from aioloader.runtime.loop import SIGNAL_CHECK_S


class Patience:
    """How long a consumer still waits before it calls it a stall.

    It waits in short slices, and a slice that took much longer than it should does not count: the process was
    suspended or stood at a breakpoint, or the consumer's own loop was blocked. Nor does time before it asked.
    """

    def __init__(self, limit_s: float, asked_at: float) -> None:
        self._limit_s = limit_s
        self._since = asked_at
        self._slice_began = asked_at

    def next_slice(self, last_progress: float) -> float | None:
        """Seconds to wait now, or None when nothing has moved for too long."""
        self._slice_began = monotonic()
        left_s = max(last_progress, self._since) + self._limit_s - self._slice_began
        return min(left_s, SIGNAL_CHECK_S) if left_s > 0 else None

    def waited(self) -> None:
        """A slice is over."""
        overshoot_s = monotonic() - self._slice_began - SIGNAL_CHECK_S
        if overshoot_s > SIGNAL_CHECK_S:
            self._since = monotonic()
