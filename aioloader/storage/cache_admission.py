"""What was fetched on its way to disk, behind the samples: never waited for, bounded, and the first to give way."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.monitor.stats import STOPPED_DISK_FULL, STOPPED_FULL, STOPPED_OTHERWISE, CacheCounts
from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.cache_entry import HEADER_BYTES
from aioloader.storage.cache_folder import ClosedError
from aioloader.storage.cache_room import Verdict

if TYPE_CHECKING:
    from aioloader.monitor.stats import CountCache
    from aioloader.storage.cache_entry import EntryName
    from aioloader.storage.cache_folder import CacheFolder

log = logging.getLogger(__name__)

WAITING_BYTES: Final = 64_000_000
"""Of bodies that wait to be written, in one process; beyond it, and beyond `_MOST_WAITING`, they are dropped."""
_MOST_WAITING: Final = 1024
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
        self._writing: set[asyncio.Future[Verdict | None]] = set()
        self._waiting_bytes = 0
        self._resume_s = 0.0
        self._has_warned = False
        self._is_closing = self._is_closed = False

    def offer(self, name: EntryName, body: bytes) -> None:
        """Keep ``body`` if that costs nobody a wait; returns at once."""
        if self._is_closing or monotonic() < self._resume_s:
            return
        too_much = self._waiting_bytes + len(body) > WAITING_BYTES
        if self._writing and (too_much or len(self._writing) >= _MOST_WAITING):
            self._count(CacheCounts(dropped=1))
            return
        try:
            future = self._threads.start(self._write, name, body)
        except RuntimeError as exc:  # the system starts no more threads
            self._stop(OSError(str(exc)))
            return
        self._writing.add(future)
        self._waiting_bytes += len(body)
        future.add_done_callback(partial(self._settle, len(body)))

    def _write(self, name: EntryName, body: bytes) -> Verdict | None:
        """In a thread; None where nothing is to be written any more."""
        return None if self._is_closed or monotonic() < self._resume_s else self._folder.write(name, body)

    def _settle(self, body_bytes: int, future: asyncio.Future[Verdict | None]) -> None:
        self._writing.discard(future)
        self._waiting_bytes -= body_bytes
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            verdict = future.result()
            if verdict is Verdict.TAKEN:
                is_going_on = monotonic() >= self._resume_s  # else the other thread has just found it full
                self._count(CacheCounts(written=1, written_bytes=HEADER_BYTES + body_bytes), resumed=is_going_on)
            elif verdict is Verdict.FULL:
                self._pause(STOPPED_FULL)
            elif verdict is Verdict.DISK_FULL:
                self._pause(STOPPED_DISK_FULL)
                self._warn("less than 5 % of its file system is free")
            elif verdict is Verdict.UNCOUNTED:  # another thread or process is adding up what is there
                self._count(CacheCounts(dropped=1))
        elif not isinstance(error, ClosedError):
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        number = error.errno if isinstance(error, OSError) and error.errno else 0
        self._pause(number or STOPPED_OTHERWISE)
        self._warn(os.strerror(number) if number else str(error) or type(error).__name__)

    def _pause(self, reason: int) -> None:
        self._resume_s = monotonic() + _PAUSE_S
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
        """Wait a second for what is being written, drop the rest."""
        self._is_closing = True
        if self._writing:
            await asyncio.wait(self._writing, timeout=_LAST_S)
        self._is_closed = True
        for future in list(self._writing):
            future.cancel()
        self._threads.close()
