"""A stream's state where its workers are other processes: they are given runs, and tell what became of them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioloader.batch.ring import SlabRing
    from aioloader.batch.slab import Slab
    from aioloader.engine.job import Job
    from aioloader.engine.state import Waiter
    from aioloader.engine.step import Step

Planned = tuple[int, int, int, int, tuple[int, int] | None]
"""Ticket, epoch, position, sample id, and (step, slot) where that is decided."""


class ElsewhereState(StreamState):
    """Slabs are written by other processes: after `close` those of open steps stay out of the ring until
    `recover_slabs`."""

    def __init__(self, job: Job, first_epoch: int, last_epoch: int, *, first_step: int = 0) -> None:
        super().__init__(job, first_epoch, last_epoch, first_step=first_step)
        self._out_of_ring: list[Slab] = []
        self._ring_at_close: SlabRing | None = None

    def next_run(self, most: int) -> list[int]:
        """Up to ``most`` consecutive tickets of one planned step: a worker's unit of work. Returned ones come first."""
        with self._lock:
            return [] if self.closed else self._tickets.take_run(self._next_index, most)

    @property
    def has_returned(self) -> bool:
        """Whether the next run is of samples whose worker died."""
        return self._tickets.has_returned

    def give_back(self, ticket: int) -> None:
        """Its worker died before it was done: another one gets it."""
        with self._lock:
            if not self.closed:
                self._placing.take_arrived(ticket)  # what had arrived there is gone
                self._tickets.give_back(ticket)

    def planned(self, run: list[int]) -> list[Planned]:
        """What a worker elsewhere must know of a run, all in one planned step: where its samples belong, too."""
        index, first_place = self._plan.locate(run[0])
        with self._lock:
            planned = self._plan.step(index)
            rows: list[Planned] = []
            for ticket in run:
                place = first_place + ticket - run[0]
                slot = None
                if self._placing.is_placed(ticket):
                    step, number = self._placing.place(ticket)
                    slot = step.index, number
                rows.append(
                    (ticket, planned.epoch, int(planned.positions[place]), int(planned.sample_ids[place]), slot)
                )
        return rows

    def arrived(self, ticket: int) -> None:
        """A sample was fetched by another process and waits for a slot there."""
        with self._lock:
            self.last_progress = monotonic()
            if not self.closed:
                self._placing.arrived(ticket)

    def place_next(self) -> tuple[int, Step, int] | None:
        """For workers elsewhere: an arrived ticket with the step and slot that became its own; None if none may."""
        with self._lock:
            ticket = self._next_arrived()
            return None if ticket is None else (ticket, *self._placing.place(ticket))

    def open_slab(self, index: int) -> Slab | None:
        """The slab of step ``index`` once it may be written and a sample was planned for it; None until then."""
        with self._lock:
            step = self._steps.get(index)
            if self.closed or step is None or self.job.workspace.ring is None or index >= self._open_until:
                return None
            return self.job.workspace.slab_if_any(step)

    @property
    def open_indices(self) -> range:
        """The steps that may be open now."""
        return range(self._next_index, self._open_until)

    def done(self, tickets: list[int], decode_s: list[float]) -> Waiter | None:
        """A worker elsewhere has filled these slots; returns whom to wake."""
        waiter = None
        with self._lock:
            self.last_progress = monotonic()
            for ticket, duration_s in zip(tickets, decode_s, strict=True):
                if self.closed:
                    return waiter
                step, _ = self._placing.place(ticket)
                self._count_decoded(step, duration_s)
                self._placing.settled(ticket)
                waiter = self._count_down(step) or waiter
            call = self._tickets.fetched(len(tickets))
        if call is not None:
            call()
        return waiter

    def _let_go(self, ring: SlabRing, steps: Iterable[Step]) -> None:
        self._ring_at_close = ring
        self._out_of_ring += [step.slab for step in steps if step.slab is not None]

    def recover_slabs(self) -> None:
        """After `close`, when no other process writes any more: its slabs go back."""
        with self._lock:
            slabs, self._out_of_ring = self._out_of_ring, []
            ring, self._ring_at_close = self._ring_at_close, None  # whoever keeps the stream keeps no slabs
        for slab in slabs:
            if ring is not None:
                ring.give_back(slab)
