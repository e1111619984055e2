"""A stream as a state machine without I/O: which sample next, into which slot, which batch is whole.

Tickets number the slots of a stream from 0 across its epochs; steps likewise. Fetchers take tickets in order, decoders
take fetched items oldest first and only into steps the queue has room for, the one consumer takes steps in order.
Every method is called under no lock and takes the stream's own; none calls back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.step import Item, Step
from aioloader.errors import LoaderClosedError

if TYPE_CHECKING:
    from aioloader.engine.job import Job
    from aioloader.errors import SampleError

Waiter = Callable[[], None]


class StreamState:
    """``first_epoch`` is where tickets start, ``last_epoch`` how far fetching may run."""

    def __init__(self, job: Job, first_epoch: int, last_epoch: int) -> None:
        self.job = job
        self.first_epoch = first_epoch
        self.last_epoch = last_epoch
        self.closed = False
        self.broken: BaseException | None = None
        self.last_progress = monotonic()
        # Reentrant: a collection inside may run a generator's `finally` that closes this very stream.
        self._lock = threading.RLock()
        self._steps: dict[int, Step] = {}
        self._next_index = 0
        self._waiting_items: list[tuple[int, Item]] = []
        self._decoding = 0
        self._finished = 0  # whole steps that the consumer has not taken
        self._waiters: list[Waiter] = []
        self._probe_ticket = 0
        self._failed_tickets: set[int] = set()  # kept only until the fields are known
        self._ticket_stop: int | None = None  # set by the first failure under on_error="raise"

    # -- tickets -----------------------------------------------------------------------------------------

    def _first_ticket(self, index: int) -> int:
        epochs, number = divmod(index, self.job.plan.steps)
        return epochs * self.job.plan.slots_per_epoch + number * self.job.plan.batch_size

    @property
    def ticket_limit(self) -> int:
        """Tickets below it may be fetched now."""
        limit = self._first_ticket(self._next_index) + self.job.options.look_ahead
        limit = min(limit, (self.last_epoch + 1 - self.first_epoch) * self.job.plan.slots_per_epoch)
        return limit if self._ticket_stop is None else min(limit, self._ticket_stop)

    def locate(self, ticket: int) -> tuple[Step, int]:
        """The step and slot of a ticket; the step is planned when its first ticket is asked for."""
        plan = self.job.plan
        epochs, within = divmod(ticket, plan.slots_per_epoch)
        number, slot = divmod(within, plan.batch_size)
        index = epochs * plan.steps + number
        step = self._steps.get(index)
        if step is None:
            epoch = self.first_epoch + epochs
            part = plan.slice(number)
            step = Step(
                index=index,
                epoch=epoch,
                number=number,
                positions=part.positions,
                n_real=part.n_real,
                sample_ids=self.job.order.ids(epoch, part.positions),
                remaining=len(part.positions),
            )
            with self._lock:
                self._steps[index] = step
        return step, slot

    # -- fetched, decoded, failed ------------------------------------------------------------------------

    def offer(self, item: Item) -> None:
        """A sample was fetched and waits for a decoder."""
        with self._lock:
            self.last_progress = monotonic()
            if not self.closed:
                heappush(self._waiting_items, (item.ticket, item))

    def take(self) -> Item | None:
        """The oldest item that a decoder may work on now, or None."""
        with self._lock:
            if self.closed or not self._waiting_items or self._decoding >= self.job.options.workers:
                return None
            ticket, item = self._waiting_items[0]
            if item.step.index >= self._next_index + self.job.workspace.open_steps:
                return None
            ring = self.job.workspace.ring
            # Before the shapes are known only the first sample, whatever arrives first: they must not depend on timing.
            if ring is None and ticket != self._probe_ticket:
                return None
            heappop(self._waiting_items)
            if ring is not None:
                self.job.workspace.slab_for(item.step)
                if item.step.index not in self._steps:
                    return None  # closed by a collection that the slab's making set off
            self._decoding += 1
            item.step.decoding += 1
            return item

    def decoded(self, item: Item, duration_s: float, error: SampleError | None) -> Waiter | None:
        """A decoder is done with ``item``; returns whom to wake."""
        step = item.step
        with self._lock:
            self._decoding -= 1
            step.decoding -= 1
            step.decode_s.append(duration_s)
            return self._settle(item.ticket, step, item.slot, error)

    def failed(self, ticket: int, step: Step, slot: int, error: SampleError) -> Waiter | None:
        """A fetch failed for good; returns whom to wake."""
        with self._lock:
            return self._settle(ticket, step, slot, error)

    def _settle(self, ticket: int, step: Step, slot: int, error: SampleError | None) -> Waiter | None:
        self.last_progress = monotonic()
        if self.closed:
            return None
        if error is not None:
            step.failures.append((slot, error))
            counters = self.job.counters
            (counters.fetch if error.stage == "fetch" else counters.decode).failed += 1
            if self.job.is_fatal(error) and self._ticket_stop is None:
                self._ticket_stop = self._first_ticket(step.index + 1)
            if self.job.workspace.ring is None:
                self._failed_tickets.add(ticket)
                while self._probe_ticket in self._failed_tickets:
                    self._failed_tickets.discard(self._probe_ticket)
                    self._probe_ticket += 1
        step.remaining -= 1
        if step.remaining:
            return None
        self._finished += 1
        self.job.counters.queue.update(self._finished)
        if step.index != self._next_index:
            return None
        return self._take_waiters()

    def _take_waiters(self) -> Waiter | None:
        """One call that wakes all who wait; usually there is one."""
        waiters, self._waiters = self._waiters, []
        if len(waiters) < 2:
            return waiters[0] if waiters else None

        def wake_all() -> None:
            for waiter in waiters:
                waiter()

        return wake_all

    # -- the consumer's end ------------------------------------------------------------------------------

    def pop(self, waiter: Waiter | None = None) -> Step | None:
        """The next step if it is whole; else ``waiter`` is called once when it may be."""
        with self._lock:
            if self.broken is not None:
                raise self.broken
            step = self._steps.get(self._next_index)
            if step is None or step.remaining:
                if self.closed:
                    raise LoaderClosedError("the stream ended under its consumer: the loader was closed")
                if waiter is not None and waiter not in self._waiters:
                    self._waiters.append(waiter)
                return None
            self._steps.pop(self._next_index, None)
            self._next_index += 1
            self._finished -= 1
            self.job.counters.queue.update(self._finished)
            return step

    def release_waiter(self) -> Waiter | None:
        """Whom to wake because something but a batch has changed."""
        with self._lock:
            return self._take_waiters()

    @property
    def next_epoch_and_step(self) -> tuple[int, int]:
        """The epoch and step the consumer gets next."""
        epochs, number = divmod(self._next_index, self.job.plan.steps)
        return self.first_epoch + epochs, number

    # -- endings -----------------------------------------------------------------------------------------

    def close(self, broken: BaseException | None = None) -> Waiter | None:
        """Nothing more is taken or offered; slabs nobody writes go back. Returns whom to wake."""
        with self._lock:
            if self.closed:
                return None
            self.closed = True
            self.broken = self.broken or broken
            self._waiting_items.clear()
            ring = self.job.workspace.ring
            for step in self._steps.values():
                # A slab with a decode still running is retired: that decode may write whenever it ends.
                if ring is not None and step.slab is not None and step.decoding == 0:
                    ring.give_back(step.slab)
            self._steps.clear()
            if self._finished:
                self._finished = 0
                self.job.counters.queue.update(0)
            return self._take_waiters()
