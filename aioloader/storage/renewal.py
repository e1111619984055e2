"""Credentials that a store has refused are renewed by one call, however many requests were refused with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aioloader.storage.policies.origin_state import state_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAITS_S: Final = (0.0, 0.5, 1.0, 2.0)
"""Before each try: who gives credentials may be down for a moment, and all requests wait for it."""


class Renewal:
    """``renew()`` makes the credentials of one event loop's client new, and says whether it could.

    ``generation`` counts them: a request remembers which it was signed with, and is made once more where there are
    newer ones by the time it was refused.
    """

    def __init__(
        self, renew: Callable[[], Awaitable[bool]], *, origin: str, waits_s: tuple[float, ...] = WAITS_S
    ) -> None:
        self._renew = renew
        self._waits_s = waits_s
        self._origin = origin
        self._lock = asyncio.Lock()
        self._ended = 0
        self.generation = 0

    async def is_newer_than(self, generation: int) -> bool:
        """Whether there are credentials newer than ``generation``; they are asked for where there are none.

        Who waits while another asks takes what comes of it, also where nothing does. Cancelling the one who asks
        leaves it to the next in line.
        """
        ended = self._ended
        async with self._lock:
            if self.generation != generation:
                return True
            if self._ended != ended:
                return False
            for wait_s in self._waits_s:
                await asyncio.sleep(wait_s)
                if await self._renew():
                    self.generation += 1
                    state_of(self._origin).counts.refreshed += 1
                    return True
            self._ended += 1
        return False
