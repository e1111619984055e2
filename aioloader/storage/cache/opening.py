"""A cache directory as each event loop has it open: opened in a thread when it is first needed."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.cache.folder import CacheFolder
from aioloader.storage.cache.on_loop import Cache
from aioloader.storage.per_loop import PerLoop

if TYPE_CHECKING:
    from aioloader.monitor.stats import CountCache
    from aioloader.storage.cache.options import CacheOptions

log = logging.getLogger(__name__)

_PAUSE_S: Final = 60.0
"""Until a directory that could not be opened is tried again."""

_LAST_S: Final = 1.0
"""What closing waits for an opening that has begun."""


class _OnLoop:
    def __init__(self) -> None:
        self.cache: Cache | None = None
        self.opening: asyncio.Future[CacheFolder] | None = None
        self.retry_s = 0.0
        self.is_closed = False


class CacheOpening:
    """What a store has open; the directory is checked again by each opening."""

    def __init__(self, options: CacheOptions, count: CountCache) -> None:
        self._options = options
        self._count = count
        self._loops: PerLoop[_OnLoop] = PerLoop()
        self._has_warned = False

    async def get(self) -> Cache | None:
        """The running loop's; None while the system does not let it be opened. Raises `OptionError`."""
        mine = self._loops.get(_OnLoop)
        if mine.cache is None and (mine.opening is not None or monotonic() >= mine.retry_s):
            if mine.opening is None:
                threads = DaemonThreads("aioloader-open", 1)
                mine.opening = threads.start(CacheFolder, self._options.path, self._options.bound_bytes)
                threads.close()
                mine.opening.add_done_callback(partial(self._settle, mine))
            try:
                await asyncio.shield(mine.opening)  # another sample waits for it too
            except OSError as exc:
                self._warn(exc)
        return mine.cache

    def _settle(self, mine: _OnLoop, opening: asyncio.Future[CacheFolder]) -> None:
        if opening.cancelled():
            return
        if opening.exception() is not None:
            mine.opening, mine.retry_s = None, monotonic() + _PAUSE_S
        elif mine.is_closed:  # it took longer than closing waits
            threads = DaemonThreads("aioloader-close", 1)
            threads.start(opening.result().close)
            threads.close()
        else:
            mine.cache = Cache(opening.result(), self._count)

    def _warn(self, exc: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "the cache %s cannot be opened: %s; all comes from the store, and it is tried again every %.0f s",
                self._options.path,
                exc.strerror or exc,
                _PAUSE_S,
            )

    async def aclose(self) -> None:
        """Close the running loop's; idempotent."""
        mine = self._loops.take()
        if mine is not None:
            if mine.opening is not None and not mine.opening.done():
                await asyncio.wait([mine.opening], timeout=_LAST_S)
            mine.is_closed = True
            if mine.cache is not None:
                await mine.cache.aclose()
