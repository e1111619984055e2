"""The floor under a transfer: a body (or header) that trickles is given up: no limit between bytes ever ends it.

Of 13 clients that were tried, none left a server that sends one byte a second within two minutes.
"""

from __future__ import annotations

import asyncio
from typing import Final

_LOOKS: Final = 3
"""Looks a window: a slow transfer is given up after 1 to 1 1/3 windows."""
_CROWD: Final = 16
"""Where all transfers together move so many floors' worth, the line is narrow, not this server sick."""
_FAR_BEHIND: Final = 0.1
"""Even then: of what the others move on average."""


class Read:
    """One transfer: ``parts`` are the bytes that came so far, and the task that waits for them."""

    __slots__ = ("bytes_at_mark", "cancels", "is_slow", "mark_s", "others", "parts", "task")

    def __init__(self, task: asyncio.Task[object] | None, parts: list[bytes], now_s: float) -> None:
        self.task = task
        self.cancels = 0 if task is None else task.cancelling()
        self.parts = parts
        self.mark_s = now_s
        self.bytes_at_mark = 0
        self.others = 0
        """Bytes that came and are not kept in ``parts``."""
        self.is_slow = False
        """Whether it was given up for this: its task was cancelled, and nobody else asked for that."""

    def take_back(self) -> bool:
        """Take our cancelling back; whether somebody else wants the task to end, too."""
        return self.task is not None and self.task.uncancel() > self.cancels

    def count(self, nbytes: int) -> None:
        """Bytes that are kept elsewhere came."""
        self.others += nbytes

    def moved(self) -> int:
        """Bytes since the last mark."""
        return sum(map(len, self.parts)) + self.others - self.bytes_at_mark


class SlowReads:
    """The transfers of one event loop, each from its request on; looked at a few times a window, by one timer."""

    def __init__(self, floor_bytes_per_s: int, window_s: float) -> None:
        self._least_bytes = floor_bytes_per_s * window_s
        self._window_s = window_s
        self._reads: dict[Read, None] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def begin(self, parts: list[bytes]) -> Read:
        """Watch over a transfer of the current task."""
        read = Read(asyncio.current_task(), parts, self._loop.time())
        self._reads[read] = None
        if self._timer is None:
            self._look_later()
        return read

    def end(self, read: Read) -> None:
        """It is over, in whichever way."""
        del self._reads[read]

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self._due_s = self._loop.time() + self._window_s / _LOOKS
        self._timer = self._loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        # A loop that comes much too late (suspend, breakpoint, a long decode) has bytes to read first.
        is_late = now_s - self._due_s > self._window_s / _LOOKS
        old = [read for read in self._reads if now_s - read.mark_s >= self._window_s]
        moved = {read: read.moved() for read in old}
        mean = sum(moved.values()) / len(moved) if moved else 0.0
        is_narrow = sum(moved.values()) >= _CROWD * self._least_bytes
        for read, nbytes in moved.items():
            read.mark_s, read.bytes_at_mark = now_s, read.bytes_at_mark + nbytes
            is_slow = nbytes < self._least_bytes and not (is_narrow and nbytes >= _FAR_BEHIND * mean)
            if is_slow and not is_late and not read.is_slow and read.task is not None:
                read.is_slow = True
                read.task.cancel()
        if self._reads:
            self._look_later()
