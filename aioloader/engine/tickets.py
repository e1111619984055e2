"""Which sample of a stream is fetched next, how far fetching may run, and where another stream goes on."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.placing import Placing, Plan


class Tickets:
    """Given out in order, each once, but for those whose worker died. Used under the stream's lock.

    ``last_epoch`` is how far fetching may run, ``look_ahead`` how many samples may be begun ahead of the consumer.
    """

    def __init__(self, plan: Plan, placing: Placing, last_epoch: int, look_ahead: int) -> None:
        self.last_epoch = last_epoch
        self.look_ahead = look_ahead
        self.near: int | None = None
        """Samples that may be begun while others get ready to take over: what was begun is what they wait for."""
        self.ahead_elsewhere = 0
        """Samples of the stream before this one that the consumer has yet to take: they are ahead of it, too."""
        self.border: int | None = None
        """The first step that is another stream's; None while this one goes on."""
        self._plan = plan
        self._placing = placing
        self._cursor = 0  # the next one nobody has taken
        self._returned: list[int] = []  # their worker died
        self._stop: int | None = None  # set by the first failure under on_error="raise"
        self._unfetched = 0  # taken and not yet here
        self._when_fetched: Callable[[], object] | None = None

    def limit(self, next_index: int) -> int:
        """Tickets below it may be fetched while ``next_index`` is the consumer's next step."""
        ahead = self.look_ahead if self.near is None else min(self.near, self.look_ahead)
        limit = self._plan.first_ticket(next_index) + max(ahead - self.ahead_elsewhere, 0)
        limit = min(limit, self._plan.tickets_until(self.last_epoch))
        bound = self._placing.fetch_limit(next_index)
        if bound is not None:
            limit = min(limit, bound)
        if self.border is not None:
            limit = min(limit, self._plan.first_ticket(self.border))
        return limit if self._stop is None else min(limit, self._stop)

    def has_more(self, next_index: int) -> bool:
        """Whether one may be fetched now that nobody had before; no lock, for who asks looks again."""
        return self._cursor < self.limit(next_index)

    @property
    def has_returned(self) -> bool:
        """Whether the next ones are of samples whose worker died."""
        return bool(self._returned)

    def take(self, next_index: int) -> int | None:
        """The next one, now the caller's; None while none may be fetched."""
        if self._returned:
            self._unfetched += 1
            return heappop(self._returned)
        if self._cursor >= self.limit(next_index):
            return None
        self._unfetched += 1
        self._cursor += 1
        return self._cursor - 1

    def take_run(self, next_index: int, most: int) -> list[int]:
        """Up to ``most`` of one planned step, consecutive but for those whose worker died; they come first."""
        if self._returned:
            run = self._take_returned(most)
        else:
            first = self._cursor
            step_end = self._plan.first_ticket(self._plan.locate(first)[0] + 1)
            self._cursor = max(first, min(first + most, self.limit(next_index), step_end))
            run = list(range(first, self._cursor))
        self._unfetched += len(run)
        return run

    def _take_returned(self, most: int) -> list[int]:
        run: list[int] = []
        while self._returned and len(run) < most:
            if run and self._plan.locate(run[0])[0] != self._plan.locate(self._returned[0])[0]:
                break
            run.append(heappop(self._returned))
        return run

    def give_back(self, ticket: int) -> None:
        """Its worker died before it was done."""
        self._unfetched -= 1
        heappush(self._returned, ticket)

    def stop_after(self, index: int) -> None:
        """A failure ends the stream in step ``index``; what was begun is finished: in another order than strict it may
        be the rest of this very step."""
        if self._stop is None:
            self._stop = max(self._cursor, self._plan.first_ticket(index + 1))

    # -- another stream goes on ----------------------------------------------------------------------------

    def hand_over(self) -> int | None:
        """Begin no step that was not begun; returns the first of those, or None where a failure ends the stream."""
        if self._stop is not None:
            return None
        if self.border is None:
            index, place = self._plan.locate(self._cursor)
            self.border = index + (place > 0)
        return self.border

    def when_fetched(self, callback: Callable[[], object]) -> None:
        """``callback`` is what `fetched` returns once nothing is being fetched any more, nor will be."""
        self._when_fetched = callback

    def fetched(self, count: int) -> Callable[[], object] | None:
        """So many more are here, or failed; returns whom to call, outside the lock."""
        self._unfetched -= count
        if self._when_fetched is None or self.border is None or self._stop is not None:
            return None
        if self._unfetched or self._returned or self._cursor < self._plan.first_ticket(self.border):
            return None
        callback, self._when_fetched = self._when_fetched, None
        return callback
