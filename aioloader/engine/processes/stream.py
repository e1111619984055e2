"""A stream whose workers are processes: the plan stays here, runs of it go out, filled slots come back."""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.elsewhere import ElsewhereState
from aioloader.engine.processes.briefing import Briefing
from aioloader.engine.processes.facts import pack_sample
from aioloader.engine.processes.in_flight import describe
from aioloader.engine.processes.shares import stream_shares
from aioloader.engine.processes.suspects import Suspects, poison_error
from aioloader.engine.processes.wire import ToChild
from aioloader.engine.shared import process_body_bytes
from aioloader.engine.stream import Stream
from aioloader.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job
    from aioloader.engine.processes.link import Link
    from aioloader.engine.processes.pool import ProcessPool
    from aioloader.engine.processes.recipe import PackedRecipe
    from aioloader.engine.processes.wire import Done
    from aioloader.errors import SampleError
    from aioloader.monitor.recorder import Span
    from aioloader.runtime.loop import LoopLease
    from aioloader.types import Tree

log = logging.getLogger(__name__)

_numbers = count(1)
_LONGEST_RUN, _SHORTEST_RUN = 16, 4


class ProcessStream(Stream):
    """Everything but construction, `pop`, `extend`, `close` and `describe_in_flight` happens on the loop."""

    def __init__(
        self,
        job: Job,
        recipe: PackedRecipe,
        find_pool: Callable[[], ProcessPool],
        lease: LoopLease,
        first_epoch: int,
        last_epoch: int,
        first_step: int = 0,
    ) -> None:
        self.state: ElsewhereState = ElsewhereState(job, first_epoch, last_epoch, first_step=first_step)
        super().__init__(job, self.state, lease)
        options = job.options
        self.number = next(_numbers)
        self.recipe_number = recipe.number
        self.origin = job.store.origin
        self.body_bytes = options.body_bytes or process_body_bytes()
        self._find_pool = find_pool
        self._is_strict = options.order == "strict"
        self._run_length = min(max(job.plan.batch_size // options.workers, _SHORTEST_RUN), _LONGEST_RUN)
        self._owner: dict[int, Link] = {}
        self.suspects = Suspects()
        self._briefing = Briefing(self.number, job, self.state, recipe, is_strict=self._is_strict)
        self._waiting_for: set[Link] = set()
        self._all_ended = asyncio.Event()
        self._is_attached = False
        self.in_flight = 0
        self._ending: asyncio.Task[None] | None = None

    # -- giving out ------------------------------------------------------------------------------------------

    @property
    def has_suspects(self) -> bool:
        """Whether a sample waits for a process of its own."""
        return bool(self.suspects)

    def start(self) -> None:
        """Begin; on the loop."""
        if self.state.closed:
            self.begin_end()
            return
        self._pool = self._find_pool()
        self._is_attached = True
        self._pool.attach(self)
        self.dispatch()

    def set_concurrency(self, concurrency: int) -> None:
        """Each process hears of its share."""
        self.concurrency = concurrency
        self.state.set_look_ahead(self.job.look_ahead(concurrency))
        if self._is_attached:
            self._pool.share_limits()
            self.dispatch()

    @property
    def body_limit(self) -> int | None:
        """Of the bodies that it may hold in each process, below what the process may; None: as much as that."""
        return None if self.job.options.body_bytes is None else max(self.body_bytes // self.workers, 1)

    @property
    def is_blocked(self) -> bool:
        """Whether one of the processes' fetching waits for bytes."""
        return self._is_attached and self._pool.figures.work()[2]

    @property
    def body_bytes_held(self) -> int:
        """None here."""
        return 0

    def set_body_bytes(self, nbytes: int) -> None:
        """Each process hears of its share."""
        self.body_bytes = nbytes
        if self._is_attached:
            self._pool.share_limits()

    def room_changed(self) -> None:
        """The loop looks what can be given out."""
        self._lease.post(self.dispatch)

    def dispatch(self) -> None:
        """Give tickets to the processes with the least to do, and slots to what has arrived."""
        if self.state.closed or not self._is_attached:
            return
        self._give_suspects()
        while (link := self._least_busy()) is not None:
            is_rescue = self.state.has_returned
            run = self.state.next_run(self._run_length)
            if not run:
                break
            self._give(link, run, is_rescue=is_rescue)
        if not self._is_strict:
            self._place_arrived()
        self._briefing.tell_slabs(self._pool.links)

    def _links(self) -> list[Link]:
        """The processes that may work for this stream: no more than it has workers, or requests."""
        return [link for link in self._pool.links[: min(self.workers, self.concurrency)] if link.is_up]

    def _least_busy(self) -> Link | None:
        free = [link for link in self._links() if not link.is_solo]
        if not free:
            return None
        link = min(free, key=self._load)
        # Never the whole look-ahead to one; while others are starting no more than its part of the open steps: what
        # comes after these would be decoded by one alone once they are up.
        wanted, ahead = min(self.workers, self.concurrency), self.state.look_ahead
        if len(self._links()) < wanted:
            ahead = min(ahead, self.job.workspace.open_steps * self.job.plan.batch_size)
        most = -(-ahead // wanted) + self._run_length
        return link if self._load(link) < most else None

    def _load(self, link: Link) -> int:
        return len(link.outstanding.get(self.number, ()))

    def _give_suspects(self) -> None:
        for link in self._links():
            if not self.suspects:
                return
            if link.load == 0 and not link.is_solo:
                link.is_solo = True
                self._give(link, [self.suspects.take()])

    def _give(self, link: Link, run: list[int], *, is_rescue: bool = False) -> None:
        requests = stream_shares(self, len(self._pool.links))[self._pool.links.index(link)]
        self._briefing.introduce(link, requests=max(requests, 1), body_limit=self.body_limit)
        given = link.outstanding.setdefault(self.number, {})
        now = monotonic()
        samples = self.job.samples
        rows = [
            (ticket, epoch, position, pack_sample(samples[sample_id]), place)
            for ticket, epoch, position, sample_id, place in self.state.planned(run)
        ]
        given |= dict.fromkeys(run, now)
        if not self._is_strict:
            self._owner |= dict.fromkeys(run, link)
        self._briefing.tell_slabs(self._pool.links)
        link.send(ToChild.RUN, (self.number, rows, self._briefing.open_slabs, is_rescue))

    def _place_arrived(self) -> None:
        """The next slots to what has arrived, in the order of arrival."""
        places: dict[Link, list[tuple[int, int, int]]] = {}
        while (placed := self.state.place_next()) is not None:
            ticket, step, slot = placed
            places.setdefault(self._owner[ticket], []).append((ticket, step.index, slot))
        for link, rows in places.items():
            link.send(ToChild.PLACES, (self.number, rows))

    # -- what comes back -------------------------------------------------------------------------------------

    def on_done(self, link: Link, done: Done) -> None:
        """Count, and wake the consumer where a step is whole."""
        counters = self.job.counters
        tickets = done.tickets.tolist()
        self._check(link, tickets)
        link.in_flight[self.number] = done.in_flight, done.in_flight_peak
        self._count_in_flight(sum(known.in_flight.get(self.number, (0, 0))[0] for known in self._pool.links))
        peak = sum(known.in_flight.get(self.number, (0, 0))[1] for known in self._pool.links)
        counters.in_flight_peak = max(counters.in_flight_peak, peak)
        counters.fetch.latency.record_all(done.fetch_s.tolist())
        if done.fetch_s.max(initial=0.0) > counters.slowest.least_s:
            self._note_slowest(tickets, done)
        counters.in_flight_seen += self._pool.in_flight_to(self.origin) * len(tickets)
        counters.bytes_fetched += int(done.nbytes.sum())
        self._forget(link, tickets)
        self.wake(self.state.done(tickets, done.decode_s.tolist()))
        if link.is_solo or self.suspects:
            link.is_solo = False
            self._pool.dispatch_all()
        else:
            self.dispatch()  # the window may have moved, or this process had all that one may have

    def _count_in_flight(self, requests: int) -> None:
        # By the difference: a stream of another kind, before or after this one, counts there too.
        self.job.counters.in_flight += requests - self.in_flight
        self.in_flight = requests

    def _note_slowest(self, tickets: list[int], done: Done) -> None:
        slowest = self.job.counters.slowest
        for ticket, seconds, nbytes in zip(tickets, done.fetch_s.tolist(), done.nbytes.tolist(), strict=True):
            if seconds > slowest.least_s:
                slowest.add(self.state.sample(ticket).key, seconds, nbytes)

    def on_spans(self, link: Link, spans: dict[str, list[Span]]) -> None:
        """Kept beside this process's own."""
        for stage, some in spans.items():
            self.job.counters.recorder.add(stage, some)

    def on_arrived(self, link: Link, tickets: list[int]) -> None:
        """Slots for them as far as steps are open."""
        self._check(link, tickets)
        for ticket in tickets:
            self.state.arrived(ticket)
        self._place_arrived()
        self._briefing.tell_slabs(self._pool.links)

    def on_failed(self, link: Link, ticket: int, error: SampleError) -> None:
        """The consumer hears of it in its batch."""
        self._check(link, [ticket])
        self._forget(link, [ticket])
        self._fail(ticket, error)
        if link.is_solo:
            link.is_solo = False
            self._pool.dispatch_all()

    def _fail(self, ticket: int, error: SampleError) -> None:
        self.wake(self.state.failed(ticket, error))
        self._briefing.tell_probe(self._pool.links)
        self.dispatch()  # the window may have moved, or this process had all that one may have

    def on_spec(self, link: Link, ticket: int, spec: Tree, key: str) -> None:
        """Make the slabs, tell everybody."""
        self._check(link, [ticket])
        try:
            self.job.workspace.settle(spec, self.job.samples.label_spec, key)
        except OptionError as exc:
            self.break_with(exc)
            return
        if not self._is_strict and not self.state.closed:
            step, slot = self.state.place(ticket)
            link.send(ToChild.PLACES, (self.number, [(ticket, step.index, slot)]))
        for known in self._pool.links:
            if self.recipe_number in known.recipes:
                self._briefing.tell_fields(known)
        self.dispatch()

    def _check(self, link: Link, tickets: list[int]) -> None:
        given = link.outstanding.get(self.number, {})
        if not given.keys() >= set(tickets) or len(set(tickets)) < len(tickets):
            raise ValueError("a process speaks of samples that it was not given")

    def _forget(self, link: Link, tickets: list[int]) -> None:
        given = link.outstanding.get(self.number, {})
        for ticket in tickets:
            given.pop(ticket, None)
            self._owner.pop(ticket, None)
        self.suspects.clear(tickets)

    # -- deaths ----------------------------------------------------------------------------------------------

    def on_death(self, link: Link, suspects: list[int], code: int) -> None:
        """What it had goes to others; what its user code was in is done again alone, or is poison."""
        self.on_ended(link)
        lost = link.outstanding.pop(self.number, {})
        link.in_flight.pop(self.number, None)
        for ticket in lost:
            self._owner.pop(ticket, None)
            if ticket not in suspects:
                self.state.give_back(ticket)
            elif not link.is_solo:
                self.suspects.add(ticket)
            elif self.suspects.died_alone(ticket, code):
                self._pool.named_poison()
                self._fail(ticket, poison_error(self.state.sample(ticket), code, self.suspects.deaths_alone(ticket)))

    def break_with(self, error: BaseException) -> None:
        """The consumer hears of it at once."""
        self.wake(self.state.close(broken=error))
        self.begin_end()

    # -- the consumer's end ----------------------------------------------------------------------------------

    def extend(self, last_epoch: int) -> None:
        """At once."""
        super().extend(last_epoch)
        self._lease.post(self.dispatch)

    async def end(self) -> None:
        """Have every process stop; one that does not within ``close_timeout_s`` is killed and replaced."""
        self.begin_end()
        await self._all_ended.wait()

    def begin_end(self) -> None:
        """Have every process stop."""
        self.wake(self.state.close())
        if self._ending is None and self._is_attached:
            self._ending = self._lease.spawn(self._end_everywhere())
        elif self._ending is None:  # it never began
            self.state.recover_slabs()
            self._all_ended.set()

    async def _end_everywhere(self) -> None:
        self._waiting_for = {link for link in self._pool.links if self.number in link.streams}
        for link in self._waiting_for:
            link.send(ToChild.END, self.number)
        try:
            if self._waiting_for:
                async with asyncio.timeout(self.job.options.close_timeout_s):
                    await self._all_ended.wait()
        except TimeoutError:
            for link in list(self._waiting_for):
                log.warning(
                    "worker process %d is still in a decoder of an ended stream and was killed: "
                    "the decoder (or transform) does not return",
                    link.pid,
                )
                link.kill("its decoder did not return")
            await self._all_ended.wait()
        finally:
            self.state.recover_slabs()
            self._pool.detach(self)
            self._count_in_flight(0)
            self._is_attached = False
            self._all_ended.set()
            self._pool.dispatch_all()  # the loader's next stream may have found no slab free

    def on_ended(self, link: Link) -> None:
        """Neither reads nor writes for us any more."""
        link.streams.discard(self.number)
        if link in self._waiting_for:
            self._waiting_for.discard(link)
            if link.is_solo:
                link.is_solo = False
            if not self._waiting_for:
                self._all_ended.set()

    def set_workers(self, workers: int) -> None:
        """Not here: another number of processes is another stream's."""
        raise TypeError("another number of processes is a hand-over: see Session.switch")

    def abandon_stuck(self, deadline: float) -> None:
        """Nothing: `end` kills whoever does not come back."""

    def describe_in_flight(self, most: int = 5) -> str:
        """The oldest samples that processes have, and which of them are in user code."""
        if not self._is_attached:
            return "nothing is in flight"
        return describe(self._pool.links, self.number, lambda ticket: self.state.sample(ticket).key, self.workers, most)
