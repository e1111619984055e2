"""A client that is made in a thread, once for each event loop, when it is first needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.per_loop import PerLoop

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class OpenedPerLoop(Generic[T]):
    """One lazily made client for each loop. Making it may read files and import, so a thread does it."""

    def __init__(self) -> None:
        self._openings: PerLoop[_Opening[T]] = PerLoop()

    async def get(self, make: Callable[[], T]) -> T:
        """The running loop's client, from ``make()`` in a thread if there is none yet."""
        opening = self._openings.get(_Opening)
        async with opening.lock:
            if not opening.made:
                threads = DaemonThreads("aioloader-open", 1)
                try:
                    opening.made.append(await threads.run(make))
                finally:
                    threads.close()
            return opening.made[0]

    def take(self) -> T | None:
        """The running loop's client, which is no longer kept here; None if it has none."""
        opening = self._openings.take()
        return opening.made[0] if opening is not None and opening.made else None


class _Opening(Generic[T]):
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.made: list[T] = []
