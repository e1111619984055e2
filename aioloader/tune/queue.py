"""How many finished batches may wait: more, where the queue is full at times and empty at others, and that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioloader.tune.load import Load

START: Final = 8
MOST: Final = 64
_WAITS: Final = 0.01
"""Share of the time that a consumer waits although the queue was full at times: its batches come unevenly."""
_FULL: Final = 0.1
_HELPS: Final = 0.7
"""Of the share that it waited before: where more is left, a longer queue is only more memory."""
_HOLD_S, _LONGEST_HOLD_S = 30.0, 960.0


class QueueLength:
    """Told of spans of some seconds in which the length was the same; answers with another one, and why."""

    def __init__(self) -> None:
        self._before: tuple[int, float] | None = None  # while a longer one is tried: the former, and the share waited
        self._clock_s = 0.0
        self._hold_until_s = 0.0
        self._hold_s = _HOLD_S

    def observe(self, load: Load) -> tuple[int, str] | None:
        """Another length with its reason, or None."""
        self._clock_s += load.span.seconds
        length, waits = load.settings.max_queue_size, load.span.data_wait_share
        if self._before is not None:
            before, waited = self._before
            self._before = None
            if waits > _HELPS * waited:
                self._hold_until_s = self._clock_s + self._hold_s
                self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S)
                return before, f"with {length} the consumer waited {waits:.1%}, with {before} it was {waited:.1%}"
            self._hold_s = _HOLD_S
        full = load.span.beat_share("full_beats")
        if waits < _WAITS or full < _FULL or length >= MOST or self._clock_s < self._hold_until_s:
            return None
        self._before = length, waits
        why = f"full {full:.0%} of the time, and yet the consumer waited {waits:.1%}: batches come unevenly"
        return min(2 * length, MOST), why
