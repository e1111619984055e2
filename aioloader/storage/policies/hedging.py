"""A request that is late is made once more, and the first answer is taken.

At p50/p99 of 40/400 ms one request in twenty takes longer than 200 ms, and in strict order a batch waits for its
slowest. A second request, after the 95th percentile, is late as rarely as the first was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aioloader.errors import ConnectFailedError, StoreError, ThrottledError, TransferStalledError
from aioloader.storage.policies.tails import LARGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from aioloader.storage.policies.origin_state import OriginState
    from aioloader.storage.policies.retry import Retry
    from aioloader.storage.policies.tails import Tail

_LOOKS: Final = 8
"""Looks within the time after which a request is late."""
_LEAST_BETWEEN_S, _MOST_BETWEEN_S = 0.005, 0.1
MOST_BYTES: Final = LARGEST_BYTES
"""Of bodies that are fetched a second time, in all: nobody has reserved these."""
_PATIENCE, _LEAST_PATIENCE_S = 3.0, 0.25
"""Times as long as a request may take before it is late: so long a failed one waits for its second."""


class Race:
    """One request, and the second one that was made for it, if any."""

    __slots__ = ("ask", "began_s", "body", "cancels", "is_won", "nbytes", "second", "second_s", "tail", "task")

    def __init__(
        self, ask: Callable[[], Coroutine[Any, Any, bytes]], tail: Tail, nbytes: int | None, began_s: float
    ) -> None:
        self.ask = ask
        self.tail = tail
        self.nbytes = nbytes
        self.began_s = began_s
        self.task = asyncio.current_task()
        self.cancels = 0 if self.task is None else self.task.cancelling()
        self.second: asyncio.Task[bytes] | None = None
        self.second_s = 0.0
        self.body = b""
        self.is_won = False
        """By the second: the first was cancelled for it."""

    def take_back(self) -> bool:
        """Take our cancelling back; whether somebody else wants the task to end, too."""
        return self.task is not None and self.task.uncancel() > self.cancels


class Hedges:
    """The requests of one event loop to one origin; looked at by one timer, oldest first."""

    def __init__(self, origin: OriginState, retry: Retry) -> None:
        self._origin = origin
        self._retry = retry
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
        self._origin.allowance.earn(self._retry.hedge_share)
        race = Race(ask, tail, nbytes, self.loop.time())
        self._races[race] = None
        if self._timer is None:
            self._look_later()
        try:
            body = await ask()
            if race.is_won:  # a store that does not let itself be cancelled
                race.take_back()
        except asyncio.CancelledError:
            if not race.is_won or race.take_back():
                raise
            body = race.body
        except Exception as exc:
            if race.is_won:  # a store that makes an error of being cancelled
                race.take_back()
                body = race.body
            elif race.second is None or not isinstance(exc, StoreError) or not exc.is_transient:
                raise
            else:
                body = await self._second_chance(race, exc)
        finally:
            del self._races[race]
            if race.second is not None:
                race.second.cancel()
        tail.record(self.loop.time() - race.began_s)
        if nbytes is None:
            tail.largest_bytes = max(tail.largest_bytes, len(body))
        return body

    async def _second_chance(self, race: Race, error: StoreError) -> bytes:
        """The first has failed while the second is under way: it is waited for as long as it is not late itself."""
        second, race.task = race.second, None
        assert second is not None
        await asyncio.wait([second], timeout=max(_PATIENCE * race.tail.late_after_s, _LEAST_PATIENCE_S))
        if not second.done() or second.cancelled() or second.exception() is not None:
            raise error
        self._heard(error, race.began_s)  # else who asks again says so
        return second.result()

    def _heard(self, error: BaseException, sent_s: float) -> None:
        """What a failure that nobody sees says of the origin."""
        if isinstance(error, ThrottledError):
            now_s, wait_s = self.loop.time(), error.retry_after_s
            bounded_s = None if wait_s is None else min(wait_s, self._retry.longest_retry_after_s)
            self._origin.refused(now_s, now_s - sent_s, bounded_s)
        elif isinstance(error, ConnectFailedError | TransferStalledError):
            self._origin.counts.troubles += 1

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
                nbytes = race.tail.largest_bytes if race.nbytes is None else race.nbytes
                if nbytes > LARGEST_BYTES:
                    continue
                if self._bytes + nbytes > MOST_BYTES or not self._origin.allowance.spend():
                    break
                self._ask_again(race, nbytes)
        if self._races:
            self._look_later()

    def _ask_again(self, race: Race, nbytes: int) -> None:
        self._origin.counts.hedged += 1
        self._bytes += nbytes
        race.second, race.second_s = self.loop.create_task(race.ask()), self.loop.time()
        race.second.add_done_callback(lambda second: self._ended(race, nbytes, second))

    def _ended(self, race: Race, nbytes: int, second: asyncio.Task[bytes]) -> None:
        self._bytes -= nbytes
        if second.cancelled():
            return
        error = second.exception()
        if error is not None:
            self._heard(error, race.second_s)
        elif race in self._races:
            self._origin.counts.hedges_won += 1
            if race.task is not None:  # else the first has failed, and waits for this
                race.is_won, race.body = True, second.result()
                race.task.cancel()
