"""A stream as a state machine without I/O: which sample next, into which slot, which batch is whole.

Tickets number the samples of a stream from 0 across its epochs; steps likewise. Fetchers take tickets in order,
decoders take arrived samples and only into steps the queue has room for, the one consumer takes steps in order.
Every method is called under no lock and takes the stream's own; none calls back, but for `when_fetched`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.placing import Placing, Plan, StrictPlacing, WindowPlacing
from aioloader.engine.step import Item, Step
from aioloader.engine.tickets import Tickets
from aioloader.errors import LoaderClosedError
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from aioloader.batch.ring import SlabRing
    from aioloader.engine.job import Job
    from aioloader.errors import SampleError
    from aioloader.types import SampleRef, Tree

Waiter = Callable[[], None]

ANY_WINDOW = 16_384
"""Samples that ``order="any"`` may be out of order: the state of what is settled stays below 4 kB."""


class StreamState:
    """Starts at step ``first_step`` of ``first_epoch``; ``last_epoch`` is how far fetching may run."""

    def __init__(self, job: Job, first_epoch: int, last_epoch: int, *, first_step: int = 0) -> None:
        self.job = job
        self.workers = job.options.workers
        """Decoders of this process that may work at a time; see `set_workers`."""
        self.closed = False
        self.broken: BaseException | None = None
        self.last_progress = monotonic()
        # Reentrant: a collection inside may run a generator's `finally` that closes this very stream.
        self._lock = threading.RLock()
        self._steps: dict[int, Step] = {}
        self._plan = Plan(job.order, job.plan, first_epoch, first_step)
        self._placing: Placing
        if job.options.order == "strict":
            self._placing = StrictPlacing(self._plan, self._steps)
        else:
            window = job.options.look_ahead if job.options.order == "window" else ANY_WINDOW
            self._placing = WindowPlacing(self._plan, job.plan, self._steps, window)
        self._tickets = Tickets(self._plan, self._placing, last_epoch, job.options.look_ahead)
        self._next_index = 0
        self._steps_elsewhere = 0
        self._items: dict[int, Item] = {}
        self._decoding = 0
        self._ready = 0  # whole steps that the consumer may take, one after another
        self._waiters: list[Waiter] = []
        self.probe_ticket = 0
        """The sample that sets the shapes: the first that does not fail, whatever arrives first."""
        self._failed_tickets: set[int] = set()  # kept only until the fields are known

    # -- tickets -----------------------------------------------------------------------------------------

    @property
    def last_epoch(self) -> int:
        """How far fetching may run."""
        return self._tickets.last_epoch

    @last_epoch.setter
    def last_epoch(self, epoch: int) -> None:
        self._tickets.last_epoch = epoch

    @property
    def look_ahead(self) -> int:
        """Samples that may be begun ahead of the consumer."""
        return self._tickets.look_ahead

    def set_workers(self, workers: int) -> None:
        """Another number of decoders at a time; those beyond end what they are at."""
        with self._lock:
            self.workers = workers

    def set_near(self, samples: int | None) -> None:
        """Begin no more than so many ahead of the consumer, whatever the look-ahead is; None: as many as that."""
        with self._lock:
            self._tickets.near = samples

    def set_look_ahead(self, samples: int) -> None:
        """Another bound from now on; what was begun beyond a smaller one is finished."""
        with self._lock:
            self._tickets.look_ahead = samples
            if self.job.options.order == "window":
                self._placing.set_window(samples)

    def next_ticket(self) -> int | None:
        """The next ticket to fetch, now the caller's; None while none may be."""
        with self._lock:
            return None if self.closed else self._tickets.take(self._next_index)

    @property
    def has_more(self) -> bool:
        """Whether a ticket may be fetched now; no lock, for who asks looks again."""
        return not self.closed and self._tickets.has_more(self._next_index)

    @property
    def has_waiting(self) -> bool:
        """Whether a sample was fetched that no decoder has begun."""
        return bool(self._items)

    def sample_of(self, ticket: int) -> tuple[int, int, int]:
        """The epoch, position and sample id of a ticket."""
        index, place = self._plan.locate(ticket)
        with self._lock:
            planned = self._plan.step(index)
        return planned.epoch, int(planned.positions[place]), int(planned.sample_ids[place])

    def item(self, ticket: int, sample: SampleRef, body: bytes) -> Item:
        """The fetched ``body`` of a ticket's sample."""
        epoch, position, _ = self.sample_of(ticket)
        return Item(ticket, epoch, position, sample, body, len(body))

    def sample(self, ticket: int) -> SampleRef:
        """The sample of a ticket."""
        return self.job.samples[self.sample_of(ticket)[2]]

    # -- arrived, decoded, failed ------------------------------------------------------------------------

    def offer(self, item: Item) -> None:
        """A sample was fetched and waits for a decoder of this process."""
        with self._lock:
            self.last_progress = monotonic()
            if self.closed:
                return
            self._items[item.ticket] = item
            self._placing.arrived(item.ticket)
            call = self._tickets.fetched(1)
        if call is not None:
            call()

    @property
    def _open_until(self) -> int:
        return self._next_index + max(self.job.workspace.open_steps - self._steps_elsewhere, 0)

    def _next_arrived(self) -> int | None:
        if self.closed:
            return None
        if self.job.workspace.ring is not None:
            return self._placing.next_arrived(self._open_until)
        # Before the shapes are known only the first sample, whatever arrives first: they must not depend on timing.
        if self._plan.locate(self.probe_ticket)[0] >= self._open_until:
            return None
        return self.probe_ticket if self._placing.take_arrived(self.probe_ticket) else None

    def take(self) -> Item | None:
        """The item that a decoder of this process may work on now, with its slot; None if there is none."""
        with self._lock:
            if self._decoding >= self.workers:
                return None
            ticket = self._next_arrived()
            if ticket is None:
                return None
            item = self._items.pop(ticket)
            step, item.slot = self._placing.place(ticket)
            if self.job.workspace.ring is not None:
                item.slab = self.job.workspace.slab_for(step)
                if step.index not in self._steps:
                    return None  # closed by a collection that the slab's making set off
            self._decoding += 1
            step.decoding += 1
            return item

    def idle(self) -> None:
        """Nobody has to be told."""

    def place(self, ticket: int) -> tuple[Step, int]:
        """The step and slot of a ticket whose order fixes it, or that has one."""
        with self._lock:
            return self._placing.place(ticket)

    def enter_user_code(self, ticket: int) -> None:
        """Nobody watches over this process's own coroutines."""

    def leave_user_code(self, ticket: int) -> None:
        """As above."""

    def settle(self, item: Item, spec: Tree) -> None:
        """The first sample set the fields: make the ring, and give the item its slab."""
        self.job.workspace.settle(spec, self.job.samples.label_spec, shown_key(item.sample.key))
        with self._lock:
            step, _ = self._placing.place(item.ticket)
            item.slab = self.job.workspace.slab_for(step)

    def decoded(self, item: Item, duration_s: float, error: SampleError | None) -> Waiter | None:
        """A decoder of this process is done with ``item``; returns whom to wake."""
        with self._lock:
            self._decoding -= 1
            if self.closed:
                return None
            step, slot = self._placing.place(item.ticket)
            step.decoding -= 1
            self._count_decoded(step, duration_s)
            return self._settle(item.ticket, step, slot, error)

    def _count_decoded(self, step: Step, duration_s: float) -> None:
        step.decode_s.append(duration_s)
        counters = self.job.counters
        counters.decoded += 1
        counters.decode_s += duration_s

    def failed(self, ticket: int, error: SampleError) -> Waiter | None:
        """A sample failed for good; returns whom to wake."""
        with self._lock:
            if self.closed:
                return None
            waiter = self._settle(ticket, *self._placing.place(ticket), error)
            call = self._tickets.fetched(1)
        if call is not None:
            call()
        return waiter

    def _settle(self, ticket: int, step: Step, slot: int, error: SampleError | None) -> Waiter | None:
        self.last_progress = monotonic()
        self._placing.settled(ticket)
        if error is not None:
            step.failures.append((slot, error))
            counters = self.job.counters
            (counters.fetch if error.stage == "fetch" else counters.decode).failed += 1
            if self.job.is_fatal(error):
                self._tickets.stop_after(step.index)
            if self.job.workspace.ring is None:
                self._failed_tickets.add(ticket)
                while self.probe_ticket in self._failed_tickets:
                    self._failed_tickets.discard(self.probe_ticket)
                    self.probe_ticket += 1
        return self._count_down(step)

    def _count_down(self, step: Step) -> Waiter | None:
        """One of its slots is filled; whom to wake if that was the last one the consumer waits for."""
        step.remaining -= 1
        if step.remaining:
            return None
        if step.index != self._next_index + self._ready:
            return None  # an older one is missing: it cannot be taken yet
        now_s = monotonic()
        while (following := self._steps.get(self._next_index + self._ready)) is not None and not following.remaining:
            following.ready_at = now_s
            self._ready += 1
        self.job.counters.queue.update(self._ready, id(self))
        return self._take_waiters() if step.index == self._next_index else None

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
            self._placing.take_step(self._next_index)
            self._next_index += 1
            self._ready -= 1
            self.job.counters.queue.update(self._ready, id(self))
            self.job.counters.recorder.queue.record(step.ready_at, monotonic())
            return step

    def release_waiter(self) -> Waiter | None:
        """Whom to wake because something but a batch has changed."""
        with self._lock:
            return self._take_waiters()

    @property
    def next_epoch_and_step(self) -> tuple[int, int]:
        """The epoch and step the consumer gets next."""
        return self._plan.epoch_and_number(self._next_index)

    # -- from one stream to the next -----------------------------------------------------------------------

    def hand_over(self) -> tuple[int, int] | None:
        """Begin no step beyond those that were begun; returns the epoch and step where another stream goes on.

        Tickets below a border fill exactly the steps below it, in every order: none beyond it was begun, and of one
        epoch's tickets each takes one slot. None where that cannot be now: the fields are not known, or a failure ends
        the stream.
        """
        with self._lock:
            border = None if self.closed or self.job.workspace.ring is None else self._tickets.hand_over()
            return None if border is None else self._plan.epoch_and_number(border)

    @property
    def left(self) -> tuple[int, int]:
        """After `hand_over`: the steps, and the samples in them, that the consumer has yet to take."""
        with self._lock:
            border = self._tickets.border
            assert border is not None
            samples = self._plan.first_ticket(border) - self._plan.first_ticket(self._next_index)
            return border - self._next_index, samples

    def set_ahead_elsewhere(self, steps: int, samples: int) -> None:
        """So many are the consumer's to take before this stream's first: they are open, and begun, in its place."""
        with self._lock:
            self._steps_elsewhere = steps
            self._tickets.ahead_elsewhere = samples

    def when_fetched(self, callback: Callable[[], object]) -> None:
        """``callback`` is called once, from any thread, when nothing of a handed over stream is being fetched any more.

        With workers elsewhere: when all of it is decoded. Not where a failure ends the stream. It takes no lock.
        """
        with self._lock:
            self._tickets.when_fetched(callback)
            call = self._tickets.fetched(0)
        if call is not None:
            call()

    # -- endings -----------------------------------------------------------------------------------------

    def close(self, broken: BaseException | None = None) -> Waiter | None:
        """Nothing more is taken or offered; slabs nobody writes go back. Returns whom to wake."""
        with self._lock:
            if self.closed:
                return None
            self.closed = True
            self.broken = self.broken or broken
            self._items.clear()
            ring = self.job.workspace.ring
            if ring is not None:
                self._let_go(ring, self._steps.values())
            self._steps.clear()
            if self._ready:
                self._ready = 0
                self.job.counters.queue.update(0, id(self))
            return self._take_waiters()

    def _let_go(self, ring: SlabRing, steps: Iterable[Step]) -> None:
        for step in steps:
            if (
                step.slab is not None and step.decoding == 0
            ):  # else it is retired: that decode may write whenever it ends
                ring.give_back(step.slab)
