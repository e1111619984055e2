"""What was fetched on its way to disk, behind the samples: never waited for, bounded, and the first to give way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.monitor.stats import STOPPED_DISK_FULL, STOPPED_FULL, STOPPED_OTHERWISE, CacheCounts
from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.cache.entry import HEADER_BYTES
from aioloader.storage.cache.folder import ClosedError
from aioloader.storage.cache.room import Verdict

if TYPE_CHECKING:
    from aioloader.monitor.stats import CountCache
    from aioloader.storage.cache.entry import EntryName
    from aioloader.storage.cache.folder import CacheFolder

log = logging.getLogger(__name__)

WAITING_BYTES: Final = 64_000_000
"""Of bodies that wait to be written, in one process; beyond it, and beyond `_MOST_HELD` of them, they are dropped."""
_MOST_HELD: Final = 4096
_MOST_A_HOP: Final = 32
_MOST_BYTES_A_HOP: Final = 4_000_000
_THREADS: Final = 2
_PAUSE_S: Final = 60.0
"""Until it is tried again, after the disk was full or gave an error."""
_LAST_S: Final = 1.0
"""What closing waits for writes."""


class Admission:
    """Of one opening of a cache, on one event loop."""

    def __init__(self, folder: CacheFolder, count: CountCache) -> None:
        """``count`` is called, on the loop, with what is to be added to the counts."""
        self._folder = folder
        self._count = count
        self._threads = DaemonThreads("aioloader-cache-write", _THREADS)
        self._waiting: deque[tuple[EntryName, bytes]] = deque()
        self._writing: set[asyncio.Future[list[Verdict]]] = set()
        self._held, self._held_bytes = 0, 0  # waiting and in writing
        self._resume_s = 0.0
        self._has_warned = False
        self._is_closing = False

    def offer(self, name: EntryName, body: bytes) -> None:
        """Keep ``body`` if that costs nobody a wait; returns at once."""
        if self._is_closing or monotonic() < self._resume_s:
            return
        if self._held and (self._held_bytes + len(body) > WAITING_BYTES or self._held >= _MOST_HELD):
            self._count(CacheCounts(dropped=1))
            return
        self._held += 1
        self._held_bytes += len(body)
        self._waiting.append((name, body))
        if len(self._writing) < _THREADS:
            self._begin()

    def _begin(self) -> None:
        """Have a thread write some of what waits."""
        some: list[tuple[EntryName, bytes]] = []
        nbytes = 0
        while self._waiting and len(some) < _MOST_A_HOP and (not some or nbytes < _MOST_BYTES_A_HOP):
            some.append(self._waiting.popleft())
            nbytes += len(some[-1][1])
        if not some:
            return
        sizes = [len(body) for _, body in some]
        try:
            future = self._threads.start(self._folder.write, some)
        except RuntimeError as exc:  # the system starts no more threads
            self._let_go(sizes)
            self._stop(exc)
            return
        self._writing.add(future)
        future.add_done_callback(partial(self._settle, sizes))

    def _settle(self, sizes: list[int], future: asyncio.Future[list[Verdict]]) -> None:
        self._writing.discard(future)
        self._let_go(sizes)
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._add_up(future.result(), sizes)
        elif not isinstance(error, ClosedError):
            self._stop(error)
        self._begin()

    def _let_go(self, sizes: list[int]) -> None:
        self._held -= len(sizes)
        self._held_bytes -= sum(sizes)

    def _add_up(self, verdicts: list[Verdict], sizes: list[int]) -> None:
        written = [size for size, verdict in zip(sizes, verdicts, strict=True) if verdict is Verdict.TAKEN]
        is_going_on = monotonic() >= self._resume_s  # else the other thread has just found it full
        some = CacheCounts(
            written=len(written),
            written_bytes=sum(written) + HEADER_BYTES * len(written),
            dropped=verdicts.count(Verdict.UNCOUNTED),  # another process is adding up what is there
        )
        self._count(some, resumed=bool(written) and is_going_on)
        if Verdict.DISK_FULL in verdicts:
            self._pause(STOPPED_DISK_FULL)
            self._warn("less than 5 % of its file system is free")
        elif Verdict.FULL in verdicts:
            self._pause(STOPPED_FULL)

    def _stop(self, error: BaseException) -> None:
        number = error.errno if isinstance(error, OSError) and error.errno else 0
        self._pause(number or STOPPED_OTHERWISE)
        self._warn(os.strerror(number) if number else str(error) or type(error).__name__)

    def _pause(self, reason: int) -> None:
        self._resume_s = monotonic() + _PAUSE_S
        self._let_go([len(body) for _, body in self._waiting])
        self._waiting.clear()
        self._count(CacheCounts(stopped=reason))

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "the cache %s takes nothing more: %s; what is not in it comes from the store, and it is tried again "
                "every %.0f s",
                self._folder.path,
                why,
                _PAUSE_S,
            )

    async def aclose(self) -> None:
        """Wait a second for what is being written and what waits to be; drop the rest."""
        self._is_closing = True
        deadline_s = monotonic() + _LAST_S
        while self._writing and (left_s := deadline_s - monotonic()) > 0:
            await asyncio.wait(self._writing, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # what follows it has begun
        self._waiting.clear()
        for future in list(self._writing):
            future.cancel()
        self._threads.close()
