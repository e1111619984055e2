"""A stream whose workers are processes: the plan stays here, runs of it go out, filled slots come back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from aioloader.engine.processes.shares import stream_shares
from aioloader.engine.processes.suspects import Suspects, poison_error
from aioloader.engine.processes.wire import ToChild
from aioloader.engine.pulse import Pulse, Work
from aioloader.engine.shared import PROCESS_BODY_BYTES
from aioloader.engine.state import StreamState
from aioloader.engine.stream import Stream
from aioloader.errors import OptionError
from aioloader.monitor.timeline import Settings
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job
    from aioloader.engine.processes.link import Link
    from aioloader.engine.processes.pool import ProcessPool
    from aioloader.engine.processes.recipe import PackedRecipe
    from aioloader.engine.processes.wire import Done
    from aioloader.engine.state import Waiter
    from aioloader.engine.step import Step
    from aioloader.errors import SampleError
    from aioloader.monitor.stats import CacheCounts, RequestCounts
    from aioloader.runtime.loop import LoopLease
    from aioloader.types import SampleRef, Tree

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
    ) -> None:
        super().__init__(StreamState(job, first_epoch, last_epoch, workers_elsewhere=True), lease)
        options = job.options
        self.number = next(_numbers)
        self.recipe_number = recipe.number
        self.origin = job.store.origin
        self.concurrency = options.concurrency
        self.workers = options.workers
        self.body_bytes = options.body_bytes or PROCESS_BODY_BYTES
        self._job = job
        self._recipe = recipe
        self._find_pool = find_pool
        self._is_strict = options.order == "strict"
        self._run_length = min(max(job.plan.batch_size // options.workers, _SHORTEST_RUN), _LONGEST_RUN)
        self._owner: dict[int, Link] = {}
        self.suspects = Suspects()
        self._open_slabs: dict[int, int] = {}
        self._told_probe = 0
        self._waiting_for: set[Link] = set()
        self._all_ended = asyncio.Event()
        self._is_attached = False
        self._pulse = Pulse(self, job.counters, job.controller, self.apply)
        self._ending: asyncio.Task[None] | None = None

    # -- giving out ------------------------------------------------------------------------------------------

    @property
    def has_suspects(self) -> bool:
        """Whether a sample waits for a process of its own."""
        return bool(self.suspects)

    def start(self) -> None:
        """Begin; on the loop."""
        if self.state.closed:
            self._all_ended.set()
            return
        self._pool = self._find_pool()
        self._is_attached = True
        self._pool.attach(self)
        self.dispatch()
        self._pulse.start()

    def settings(self) -> Settings:
        """What it works with now."""
        return Settings(
            concurrency=self.concurrency,
            workers=self.workers,
            use_multiprocessing=True,
            max_queue_size=self._job.workspace.queue_size,
        )

    def apply(self, settings: Settings) -> None:
        """Go on with these; on the loop."""
        if settings.concurrency != self.concurrency:
            self._set_concurrency(settings.concurrency)

    def work(self) -> Work:
        """CPU of this process's loop and of the worker processes, which all loaders share."""
        loop_cpu_s, decode_cpu_s, is_blocked = self._pool.work()
        return Work(
            loop_cpu_s=self._lease.cpu_s,
            child_loop_cpu_s=loop_cpu_s,
            child_decode_cpu_s=decode_cpu_s,
            is_blocked=is_blocked,
        )

    def request_counts(self) -> RequestCounts:
        """Those of all processes, to all origins."""
        return self._pool.request_counts()

    def cache_counts(self) -> CacheCounts:
        """Those of all processes."""
        return self._pool.cache_counts()

    def _set_concurrency(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.state.set_look_ahead(self._job.look_ahead(concurrency))
        self._pool.share_limits()
        self.dispatch()

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
        self._tell_slabs()

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
            ahead = min(ahead, self._job.workspace.open_steps * self._job.plan.batch_size)
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
        self._introduce(link)
        given = link.outstanding.setdefault(self.number, {})
        now = monotonic()
        samples = self._job.samples
        rows = [
            (ticket, epoch, position, _facts(samples[sample_id]), place)
            for ticket, epoch, position, sample_id, place in self.state.planned(run)
        ]
        given |= dict.fromkeys(run, now)
        if not self._is_strict:
            self._owner |= dict.fromkeys(run, link)
        self._tell_slabs()
        link.send(ToChild.RUN, (self.number, rows, self._open_slabs, is_rescue))

    def _introduce(self, link: Link) -> None:
        """What the process must know before its first run."""
        if self.recipe_number not in link.recipes:
            link.recipes.add(self.recipe_number)
            link.send(ToChild.JOB, (self.recipe_number, self._recipe.payload, self._recipe.seed))
        self._tell_fields(link)
        if self.number not in link.streams:
            link.streams.add(self.number)
            limit = self._job.options.body_bytes
            link.send(
                ToChild.STREAM,
                {
                    "stream": self.number,
                    "recipe": self.recipe_number,
                    "requests": max(stream_shares(self, len(self._pool.links))[self._pool.links.index(link)], 1),
                    "body_limit": None if limit is None else max(limit // self.workers, 1),
                    "probe": self.state.probe_ticket,
                    "is_strict": self._is_strict,
                },
            )

    def _tell_fields(self, link: Link) -> None:
        workspace = self._job.workspace
        ring = workspace.ring
        if ring is not None and ring.arena is not None and link.fields.get(self.recipe_number) is not ring.arena:
            facts = {
                "is_declared": workspace.is_declared,
                "first_key": workspace.first_key,
                "decoder_fills_all": workspace.decoder_fills_all,
            }
            link.send_fields(self.recipe_number, ring.arena, facts)

    def _tell_slabs(self) -> None:
        """Slabs for the steps that may be filled now; each process that works for us hears of each."""
        for index in self.state.open_indices:
            if index in self._open_slabs:
                continue
            slab = self.state.open_slab(index)
            if slab is not None:
                self._open_slabs[index] = slab.number
                for link in self._pool.links:
                    if self.number in link.streams:
                        link.send(ToChild.SLAB, (self.number, index, slab.number))
        for index in [old for old in self._open_slabs if old < self.state.open_indices.start]:
            del self._open_slabs[index]

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
        counters = self._job.counters
        tickets = done.tickets.tolist()
        self._check(link, tickets)
        link.in_flight[self.number] = done.in_flight, done.in_flight_peak
        counters.in_flight = sum(known.in_flight.get(self.number, (0, 0))[0] for known in self._pool.links)
        peak = sum(known.in_flight.get(self.number, (0, 0))[1] for known in self._pool.links)
        counters.in_flight_peak = max(counters.in_flight_peak, peak)
        counters.fetch.latency.record_all(done.fetch_s.tolist())
        if done.fetch_s.max(initial=0.0) > counters.slowest.least_s:
            self._note_slowest(tickets, done)
        counters.in_flight_seen += counters.in_flight * len(tickets)
        counters.bytes_fetched += int(done.nbytes.sum())
        self._forget(link, tickets)
        self.wake(self.state.done(tickets, done.decode_s.tolist()))
        if link.is_solo or self.suspects:
            link.is_solo = False
            self._pool.dispatch_all()
        else:
            self.dispatch()  # the window may have moved, or this process had all that one may have

    def _note_slowest(self, tickets: list[int], done: Done) -> None:
        slowest = self._job.counters.slowest
        for ticket, seconds, nbytes in zip(tickets, done.fetch_s.tolist(), done.nbytes.tolist(), strict=True):
            if seconds > slowest.least_s:
                slowest.add(self.state.sample(ticket).key, seconds, nbytes)

    def on_arrived(self, link: Link, tickets: list[int]) -> None:
        """Slots for them as far as steps are open."""
        self._check(link, tickets)
        for ticket in tickets:
            self.state.arrived(ticket)
        self._place_arrived()
        self._tell_slabs()

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
        if self.state.probe_ticket != self._told_probe:
            self._told_probe = self.state.probe_ticket
            for link in self._pool.links:
                if self.number in link.streams:
                    link.send(ToChild.PROBE, (self.number, self._told_probe))
        self.dispatch()  # the window may have moved, or this process had all that one may have

    def on_spec(self, link: Link, ticket: int, spec: Tree, key: str) -> None:
        """Make the slabs, tell everybody."""
        self._check(link, [ticket])
        try:
            self._job.workspace.settle(spec, self._job.samples.label_spec, key)
        except OptionError as exc:
            self.break_with(exc)
            return
        if not self._is_strict and not self.state.closed:
            step, slot = self.state.place(ticket)
            link.send(ToChild.PLACES, (self.number, [(ticket, step.index, slot)]))
        for known in self._pool.links:
            if self.recipe_number in known.recipes:
                self._tell_fields(known)
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
        self._begin_end()

    # -- the consumer's end ----------------------------------------------------------------------------------

    def pop(self, waiter: Waiter | None = None) -> Step | None:
        """The next whole step; the next ones are given out."""
        step = self.state.pop(waiter)
        if step is not None:
            self._lease.post(self.dispatch)
        return step

    def extend(self, last_epoch: int) -> None:
        """At once."""
        self.state.last_epoch = last_epoch
        self.wake(self.state.release_waiter())
        self._lease.post(self.dispatch)

    async def end(self) -> None:
        """Have every process stop; one that does not within ``close_timeout_s`` is killed and replaced."""
        self._begin_end()
        await self._all_ended.wait()

    def _begin_end(self) -> None:
        self.wake(self.state.close())
        if self._ending is None and self._is_attached:
            self._ending = self._lease.spawn(self._end_everywhere())

    async def _end_everywhere(self) -> None:
        self._pulse.stop()
        self._waiting_for = {link for link in self._pool.links if self.number in link.streams}
        for link in self._waiting_for:
            link.send(ToChild.END, self.number)
        try:
            if self._waiting_for:
                async with asyncio.timeout(self._job.options.close_timeout_s):
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
            self._job.counters.in_flight = 0
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

    def abandon_stuck(self, deadline: float) -> None:
        """Nothing: `end` kills whoever does not come back."""

    def describe_in_flight(self, most: int = 5) -> str:
        """The oldest samples that processes have, and which of them are in user code."""
        if not self._is_attached:
            return "nothing is in flight"
        now = monotonic()
        rows: list[tuple[float, int, Link]] = []
        decoding: set[int] = set()
        for link in list(self._pool.links):  # the loop changes them: this is the consumer's thread
            rows += [(since, ticket, link) for ticket, since in dict(link.outstanding.get(self.number, {})).items()]
            with contextlib.suppress(ValueError):  # buried meanwhile
                decoding |= {ticket for number, ticket in link.board.suspects() if number == self.number}
        if not rows:
            up = sum(link.is_up for link in self._pool.links)
            return f"nothing is in flight; {up} of {self.workers} worker processes are up"
        rows.sort(key=lambda row: (row[1] not in decoding, row[0]))
        parts = [
            f"{shown_key(self.state.sample(ticket).key)} "
            f"({'decode' if ticket in decoding else 'fetch'} in process {link.pid}, {now - since:.1f} s)"
            for since, ticket, link in rows[:most]
        ]
        return f"{len(rows)} in flight, the oldest: " + ", ".join(parts)


def _facts(sample: SampleRef) -> tuple[Any, ...]:
    return (
        sample.index,
        sample.key,
        sample.label,
        sample.size_bytes,
        sample.etag,
        sample.byte_range,
        sample.columns or None,
    )
