"""A request that is late is made once more, and the first answer is taken.

At p50/p99 of 40/400 ms one request in twenty takes longer than 200 ms, and in strict order a batch waits for its
slowest. A second request, after the 95th percentile, is late as rarely as the first was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aioloader.errors import StoreError, ThrottledError
from aioloader.storage.tails import LARGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from aioloader.storage.origin_state import OriginState
    from aioloader.storage.tails import Tail

_LOOKS: Final = 8
"""Looks within the time after which a request is late."""
_LEAST_BETWEEN_S, _MOST_BETWEEN_S = 0.005, 0.1
MOST_BYTES: Final = LARGEST_BYTES
"""Of bodies that are fetched a second time, in all: nobody has reserved these."""
_UNKNOWN_BYTES: Final = 1 << 20


class Race:
    """One request, and the second one that was made for it, if any."""

    __slots__ = ("ask", "began_s", "body", "is_won", "nbytes", "second", "tail", "task")

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, bytes]], tail: Tail, nbytes: int, began_s: float) -> None:
        self.ask = ask
        self.tail = tail
        self.nbytes = nbytes
        self.began_s = began_s
        self.task = asyncio.current_task()
        self.second: asyncio.Task[bytes] | None = None
        self.body = b""
        self.is_won = False
        """By the second: the first was cancelled for it, and nobody else asked for that."""


class Hedges:
    """The requests of one event loop to one origin; looked at by one timer, oldest first."""

    def __init__(self, origin: OriginState, share: float) -> None:
        self._origin = origin
        self._share = share
        self._races: dict[Race, None] = {}
        self.loop = asyncio.get_running_loop()
        """Whose requests these are."""
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._between_s = _MOST_BETWEEN_S
        self._bytes = 0

    async def get(self, ask: Callable[[], Coroutine[Any, Any, bytes]], nbytes: int | None) -> bytes:
        """What ``ask()`` gives for a body of ``nbytes``, or what it gives when it is called again. Raises what the
        first raises, unless a second is under way."""
        tail = self._origin.tails.of(nbytes)
        if tail is None:
            return await ask()
        self._origin.allowance.earn(self._share)
        race = Race(ask, tail, _UNKNOWN_BYTES if nbytes is None else nbytes, self.loop.time())
        self._races[race] = None
        if self._timer is None:
            self._look_later()
        try:
            body = await ask()
        except asyncio.CancelledError:
            if not race.is_won or (race.task is not None and race.task.uncancel()):
                raise  # somebody else wants it to end, too
            body = race.body
        except StoreError as exc:
            if race.second is None or not exc.is_transient:
                raise
            body = await self._second_chance(race, exc)
        finally:
            del self._races[race]
            if race.second is not None:
                race.second.cancel()
        tail.record(self.loop.time() - race.began_s)
        return body

    async def _second_chance(self, race: Race, error: StoreError) -> bytes:
        """The first has failed while the second is under way."""
        second, race.task = race.second, None
        assert second is not None
        await asyncio.wait([second])
        if second.cancelled() or second.exception() is not None:
            raise error
        return second.result()

    def _look_later(self) -> None:
        soonest_s = self._origin.tails.soonest_s
        self._between_s = min(max(soonest_s / _LOOKS, _LEAST_BETWEEN_S), _MOST_BETWEEN_S)
        self._due_s = self.loop.time() + self._between_s
        self._timer = self.loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self.loop.time()
        # A loop that comes late has answers to read first; who is refused is not asked more often.
        if now_s - self._due_s < self._between_s and self._origin.pace.is_free:
            soonest_s = self._origin.tails.soonest_s
            for race in self._races:
                age_s = now_s - race.began_s
                if age_s < soonest_s:
                    break  # the others are younger
                if age_s < race.tail.late_after_s or race.second is not None or race.is_won:
                    continue
                if self._bytes + race.nbytes > MOST_BYTES or not self._origin.allowance.spend():
                    break
                self._ask_again(race)
        if self._races:
            self._look_later()

    def _ask_again(self, race: Race) -> None:
        self._origin.counts.hedged += 1
        self._bytes += race.nbytes
        race.second = self.loop.create_task(race.ask())
        race.second.add_done_callback(lambda second: self._ended(race, second))

    def _ended(self, race: Race, second: asyncio.Task[bytes]) -> None:
        self._bytes -= race.nbytes
        if second.cancelled():
            return
        error = second.exception()
        if isinstance(error, ThrottledError):
            now_s = self.loop.time()
            self._origin.refused(now_s, now_s - race.began_s, None)
        elif error is None and race in self._races:
            self._origin.counts.hedges_won += 1
            if race.task is not None:  # else the first has failed, and waits for this
                race.is_won, race.body = True, second.result()
                race.task.cancel()
