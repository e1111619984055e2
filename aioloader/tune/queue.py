"""How many finished batches may wait: more, where the queue is full at times and empty at others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioloader.tune.load import Load

START: Final = 8
MOST: Final = 64
_WAITS: Final = 0.01
"""Share of the time that a consumer waits although the queue was full at times: its batches come unevenly."""
_FULL: Final = 0.05


def wanted_queue(load: Load) -> tuple[int, str] | None:
    """Another length with its reason, or None."""
    length, waits = load.settings.max_queue_size, load.span.data_wait_share
    full = load.span.beat_share("full_beats")
    if waits < _WAITS or full < _FULL or length >= MOST:
        return None
    why = f"full {full:.0%} of the time, and yet the consumer waited {waits:.0%}: batches come unevenly"
    return min(2 * length, MOST), why
