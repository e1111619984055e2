"""Blocking calls, several a thread hop while they are quick: one loop's.

From the page cache a file of 66 kB takes 20 µs to read, and handing it to a thread and back 40 more beside decoders:
each hand-over is a wait for the interpreter's lock. A disk that takes its time gets a thread a file.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aioloader.runtime.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable

_HOP_S: Final = 0.0003
"""What the calls of one hop may take together, by the quickest seen of late."""
_MOST_A_HOP: Final = 8
_FIRST_GUESS_S: Final = 0.001
_QUICK_S: Final = 0.0002
_LATEST: Final = 0.2

T = TypeVar("T")
_Job = tuple["Callable[..., Any]", tuple[object, ...], asyncio.Future[Any]]


class BriefCalls:
    """Made and used on one event loop."""

    def __init__(
        self, name: str, max_threads: int, *, first_guess_s: float = _FIRST_GUESS_S, quick_threads: int | None = None
    ) -> None:
        """``first_guess_s`` is what a call takes until some were seen. While calls take less than 0.2 ms on average,
        ``quick_threads`` are used: more would only take the interpreter's lock from each other."""
        self.threads = DaemonThreads(name, max_threads)
        self._max_hops = max_threads
        self._quick_hops = quick_threads or max_threads
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._is_called = False
        self._hops = 0
        self._call_s = self._mean_s = first_guess_s

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """``function(*arguments)`` in a thread, together with what else is asked for in this turn of the loop.

        Raises what it raises. Cancelling abandons it.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((function, arguments, future))
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._begin)
        return await future

    def _begin(self) -> None:
        self._is_called = False
        most = max(min(int(_HOP_S / self._call_s), _MOST_A_HOP), 1)
        hops = self._quick_hops if self._mean_s < _QUICK_S else self._max_hops
        while self._waiting and self._hops < hops:
            some = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            try:
                hop = self.threads.start(_call_all, some)
            except RuntimeError as exc:  # the system starts no more threads
                _fail(some, exc)
            else:
                self._hops += 1
                hop.add_done_callback(partial(self._deliver, some))

    def _deliver(self, jobs: list[_Job], hop: asyncio.Future[tuple[list[Any], float, float]]) -> None:
        self._hops -= 1
        try:
            found, quickest_s, mean_s = hop.result()
        except BaseException as exc:  # a SystemExit in a thread, or a hop that was cancelled
            _fail(jobs, exc)
        else:
            self._call_s += _LATEST * (quickest_s - self._call_s)
            self._mean_s += _LATEST * (mean_s - self._mean_s)
            for (_, _, future), one in zip(jobs, found, strict=True):
                if future.done():  # cancelled
                    continue
                if isinstance(one, Exception):
                    future.set_exception(one)
                else:
                    future.set_result(one)
        self._begin()

    def close(self) -> None:
        """End the threads once the calls that run return; those that wait are cancelled."""
        for *_, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self.threads.close()


def _fail(jobs: list[_Job], exc: BaseException) -> None:
    for *_, future in jobs:
        if not future.done():
            future.set_exception(exc)


def _call_all(jobs: list[_Job]) -> tuple[list[Any], float, float]:
    """In a thread: each call's result or error, and the seconds that the quickest took, and all on average."""
    found: list[Any] = []
    quickest_s, all_s = 1.0, 0.0
    for function, arguments, future in jobs:
        if future.cancelled():
            found.append(None)
            continue
        began_s = monotonic()
        try:
            found.append(function(*arguments))
        except Exception as exc:  # carried to whoever asked
            found.append(exc)
        took_s = monotonic() - began_s
        quickest_s, all_s = min(quickest_s, took_s), all_s + took_s
    return found, quickest_s, all_s / len(jobs)
