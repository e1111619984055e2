"""Reads of files, several a thread hop while they are quick: one loop's.

From the page cache a file of 66 kB takes 20 µs to read, and handing it to a thread and back 40 more beside decoders:
each hand-over is a wait for the interpreter's lock. A disk that takes its time gets a thread a file.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.local_files import read_file

if TYPE_CHECKING:
    from aioloader.types import ByteRange

_HOP_S: Final = 0.0003
"""What the files of one hop may take together, by the quickest seen of late."""
_MOST_A_HOP: Final = 8
_FIRST_GUESS_S: Final = 0.001
_LATEST: Final = 0.2

_Job = tuple[str, "ByteRange | None", str, str, asyncio.Future[bytes]]


class LocalReads:
    """Made and used on one event loop."""

    def __init__(self, max_threads: int) -> None:
        self.threads = DaemonThreads("aioloader-file", max_threads)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Job] = []
        self._read_s = _FIRST_GUESS_S

    async def read(self, path: str, byte_range: ByteRange | None, location: str, key: str) -> bytes:
        """`read_file`, together with what else is asked for in this turn of the loop. Cancelling abandons it."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append((path, byte_range, location, key, future))
        if len(self._waiting) == 1:
            self._loop.call_soon(self._begin)
        return await future

    def _begin(self) -> None:
        jobs, self._waiting = self._waiting, []
        most = max(min(int(_HOP_S / self._read_s), _MOST_A_HOP), 1)
        for place in range(0, len(jobs), most):
            some = jobs[place : place + most]
            try:
                hop = self.threads.start(_read_all, some)
            except RuntimeError as exc:  # the system starts no more threads
                _fail(some, exc)
            else:
                hop.add_done_callback(partial(self._deliver, some))

    def _deliver(self, jobs: list[_Job], hop: asyncio.Future[tuple[list[bytes | Exception], float]]) -> None:
        try:
            found, quickest_s = hop.result()
        except BaseException as exc:  # a SystemExit in a thread, or a hop that was cancelled
            _fail(jobs, exc)
            return
        self._read_s += _LATEST * (quickest_s - self._read_s)
        for (*_, future), one in zip(jobs, found, strict=True):
            if future.done():  # cancelled
                continue
            if isinstance(one, Exception):
                future.set_exception(one)
            else:
                future.set_result(one)


def _fail(jobs: list[_Job], exc: BaseException) -> None:
    for *_, future in jobs:
        if not future.done():
            future.set_exception(exc)


def _read_all(jobs: list[_Job]) -> tuple[list[bytes | Exception], float]:
    """In a thread: each file's bytes or error, and the seconds that the quickest took."""
    found: list[bytes | Exception] = []
    quickest_s = 1.0
    for path, byte_range, location, key, future in jobs:
        if future.cancelled():
            found.append(b"")
            continue
        began_s = monotonic()
        try:
            found.append(read_file(path, byte_range, location, key))
        except Exception as exc:  # carried to whoever asked
            found.append(exc)
        quickest_s = min(quickest_s, monotonic() - began_s)
    return found, quickest_s
