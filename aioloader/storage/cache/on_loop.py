"""An open cache on one event loop: what is there is read in threads, what is new is written behind the samples."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aioloader.monitor.stats import CacheCounts
from aioloader.runtime.brief_calls import BriefCalls
from aioloader.storage.cache.admission import Admission
from aioloader.storage.cache.entry import BadEntryError
from aioloader.storage.cache.folder import ClosedError

if TYPE_CHECKING:
    from aioloader.monitor.stats import CountCache
    from aioloader.storage.cache.entry import EntryName
    from aioloader.storage.cache.folder import CacheFolder

log = logging.getLogger(__name__)

MAX_THREADS: Final = 32
"""Reads at once; a disk gives most of what it has to so many."""


_LOOK_S: Final = 0.00004
"""A miss takes 10 µs, a hit 40: those of one turn of the loop come back together, so that ranges can be merged."""
_LAST_S: Final = 1.0
"""What closing waits for the directory; a disk that hangs is left to its thread."""


class Cache:
    """Made and used on one event loop; ``folder`` is closed with it."""

    def __init__(self, folder: CacheFolder, count: CountCache) -> None:
        """``count`` is called, on the loop, with what is to be added to the counts."""
        self._folder = folder
        self._count = count
        self._reads = BriefCalls("aioloader-cache-read", MAX_THREADS, first_guess_s=_LOOK_S, quick_threads=1)
        self._admission = Admission(folder, count)

    async def find(self, name: EntryName) -> bytes | None:
        """The body under ``name``, checked; None where it has to be fetched. Cancelling abandons the read."""
        try:
            body = await self._reads.run(self._folder.read, name)
        except BadEntryError as exc:
            log.info("the entry %s of the cache was spoilt: %s; it was removed", name.file, exc)
            self._count(CacheCounts(bad=1, misses=1))
            return None
        except (OSError, RuntimeError, ClosedError):  # no descriptor, no thread: the store has it still
            body = None
        self._count(CacheCounts(misses=1) if body is None else CacheCounts(hits=1, hit_bytes=len(body)))
        return body

    def keep(self, name: EntryName, body: bytes) -> None:
        """Write it, some time later, if there is room; returns at once."""
        self._admission.offer(name, body)

    async def aclose(self) -> None:
        """End the threads; at most a second is waited for what is being written."""
        try:
            await self._admission.aclose()
        finally:
            closing = self._reads.threads.start(self._folder.close)
            self._reads.close()
            await asyncio.wait([closing], timeout=_LAST_S)
