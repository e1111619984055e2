"""How late an event loop runs its timers: what a decoder that holds the GIL does to fetching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioloader.monitor.histogram import LatencyHistogram

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_S = 0.05
_TOLD_EVERY = 10


class LoopLag:
    """A timer on one loop; each time it fires it records how late it was. On that loop only."""

    def __init__(self, tell: Callable[[LatencyHistogram], None] | None = None) -> None:
        """``tell`` hears of the histogram about twice a second, and at the end."""
        self.histogram = LatencyHistogram()
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._untold = 0

    def start(self) -> None:
        """Begin, unless it runs."""
        if self._timer is None:
            self._wait(asyncio.get_running_loop())

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _EVERY_S
        self._timer = loop.call_at(self._due, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self.histogram.record(max(loop.time() - self._due, 0.0))
        self._untold += 1
        if self._untold >= _TOLD_EVERY:
            self._tell_now()
        self._wait(loop)

    def _tell_now(self) -> None:
        self._untold = 0
        if self._tell is not None:
            self._tell(self.histogram)

    def stop(self) -> None:
        """Stop until it is started again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._tell_now()
