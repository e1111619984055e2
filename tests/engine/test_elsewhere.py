"""The plan where workers are elsewhere: whatever is lost with a dead worker is done again, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioloader.engine.decoding import decode_item
from aioloader.engine.elsewhere import ElsewhereState
from aioloader.engine.job import Job
from aioloader.errors import ObjectNotFoundError
from aioloader.tree import spec_of

if TYPE_CHECKING:
    from aioloader.batch.slab import Slab
    from aioloader.engine.step import Step

MakeJob = Callable[..., Job]


class FarWorker:
    """What one worker was given: on its way, told as arrived, and with a slot."""

    def __init__(self) -> None:
        self.fetching: list[int] = []
        self.told: set[int] = set()
        self.placed: dict[int, tuple[int, int]] = {}

    @property
    def tickets(self) -> list[int]:
        return [*self.fetching, *self.told, *self.placed]


class Parent:
    """A stream's plan and its workers, one random move at a time; checks each against its own books."""

    def __init__(self, job: Job, epochs: int, random: Random, workers: int) -> None:
        self.job = job
        self.state = ElsewhereState(job, 0, epochs - 1)
        self.random = random
        self.workers = [FarWorker() for _ in range(workers)]
        self.is_strict = job.options.order == "strict"
        self.settled: Counter[int] = Counter()
        self.popped: list[tuple[Step, list[int]]] = []
        self.deaths = 0
        self.failing: set[int] = set()

    def held(self) -> list[int]:
        """Every ticket that some worker has."""
        return [ticket for worker in self.workers for ticket in worker.tickets]

    def give(self, most: int) -> bool:
        run = self.state.next_run(most)
        assert len(run) <= most
        assert len({self.state._plan.locate(ticket)[0] for ticket in run}) <= 1, "a run of two steps"
        assert not set(run) & set(self.held()), "given while another has it"
        assert not set(run) & set(self.settled), "given after it was done"
        worker = self.random.choice(self.workers)
        worker.fetching += run
        return bool(run)

    def arrive(self) -> bool:
        worker = self.random.choice(self.workers)
        if not worker.fetching:
            return False
        ticket = worker.fetching.pop(self.random.randrange(len(worker.fetching)))
        if self.state.sample(ticket).index in self.failing:
            self._settle_failed(ticket)
            return True
        if self.is_strict or self.state._placing.is_placed(ticket):
            step, slot = self.state.place(ticket)
            worker.placed[ticket] = step.index, slot
        else:
            worker.told.add(ticket)
            self.state.arrived(ticket)
        return True

    def place(self) -> bool:
        if self.is_strict:
            return False
        placed = self.state.place_next()
        if placed is None:
            return False
        ticket, step, slot = placed
        (worker,) = [worker for worker in self.workers if ticket in worker.told]  # else its worker is dead
        worker.told.remove(ticket)
        worker.placed[ticket] = step.index, slot
        return True

    def probe(self) -> None:
        """The worker of the first sample tells the fields; in other orders than strict it was placed before."""
        probe = self.state.probe_ticket
        if self.job.workspace.ring is not None or not any(probe in worker.placed for worker in self.workers):
            return
        sample = self.state.sample(probe)
        decoded = self.job.decoder.decode(str(sample.index).encode(), sample, None)
        self.job.workspace.settle(spec_of(decoded), None, sample.key)

    def slab_of(self, index: int) -> Slab | None:
        return self.state.open_slab(index)

    def finish(self) -> bool:
        """One worker fills what it can, and reports it in one piece."""
        self.probe()
        worker = self.random.choice(self.workers)
        done = []
        for ticket, (index, slot) in sorted(worker.placed.items(), key=lambda entry: entry[1]):
            slab = self.slab_of(index)
            if slab is None:
                continue
            self.write(ticket, slab, slot)
            done.append(ticket)
            if self.random.random() < 0.5:
                break
        for ticket in done:
            del worker.placed[ticket]
            self.settled[ticket] += 1
        self.state.done(done, [0.001] * len(done))
        return bool(done)

    def write(self, ticket: int, slab: Slab, slot: int) -> None:
        sample = self.state.sample(ticket)
        item = self.state.item(ticket, sample, str(sample.index).encode())
        item.slab, item.slot = slab, slot
        decode_item(self.job, item, self.state.settle)

    def _settle_failed(self, ticket: int) -> None:
        self.settled[ticket] += 1
        self.state.failed(ticket, ObjectNotFoundError("gone", str(ticket)))

    def die(self) -> bool:
        """A worker is gone; some of what it had was written and not reported."""
        worker = self.random.choice(self.workers)
        self.deaths += 1
        for ticket, (index, slot) in worker.placed.items():
            slab = None if self.job.workspace.ring is None else self.slab_of(index)
            if slab is not None and self.random.random() < 0.5:
                self.write(ticket, slab, slot)
        for ticket in worker.tickets:
            self.state.give_back(ticket)
        self.workers[self.workers.index(worker)] = FarWorker()
        return True

    def pop(self) -> bool:
        step = self.state.pop()
        if step is None:
            return False
        slab = step.slab
        failed = {slot for slot, _ in step.failures}
        if slab is not None:
            for slot in set(range(step.slots)) - failed:
                assert slab.positions[slot] == step.positions[slot]
                assert slab.fields[0][slot, 0] == step.sample_ids[slot], "another sample's bytes"
            assert self.job.workspace.ring is not None
            self.job.workspace.ring.give_back(slab)
        else:
            assert len(failed) == step.slots
        self.popped.append((step, sorted(failed)))
        return True

    def play(self, moves: int, death_rate: float) -> None:
        for _ in range(moves):
            if self.random.random() < death_rate:
                self.die()
            self.random.choice(
                [lambda: self.give(self.random.randint(1, 6)), self.arrive, self.arrive, self.place, self.finish]
            )()
            if self.random.random() < 0.3:
                self.pop()

    def drain(self) -> None:
        """Let everything move that can, until nothing has for long."""
        idle = 0
        while idle < 60:
            moved = [self.give(6), self.arrive(), self.place(), self.finish(), self.pop()]
            idle = 0 if any(moved) else idle + 1


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    batch_size = draw(st.integers(1, 6))
    return {
        "n": draw(st.integers(1, 40)),
        "batch_size": batch_size,
        "look_ahead": 2 * batch_size + draw(st.integers(0, 25)),
        "max_queue_size": draw(st.integers(1, 4)),
        "shuffle": draw(st.booleans()),
    }


SEEDS = st.integers(0, 2**32)
ORDERS = pytest.mark.parametrize("order", ["strict", "window", "any"])


def check(parent: Parent, epochs: int, n: int) -> None:
    steps = parent.job.plan.steps
    assert [(step.epoch, step.number) for step, _ in parent.popped] == [
        (epoch, number) for epoch in range(epochs) for number in range(steps)
    ]
    for epoch in range(epochs):
        of_epoch = parent.popped[epoch * steps : (epoch + 1) * steps]
        assert Counter(index for step, _ in of_epoch for index in step.sample_ids.tolist()) == Counter(range(n))
        assert Counter(index for step, _ in of_epoch for index in step.positions.tolist()) == Counter(range(n))
        failed = [int(step.sample_ids[slot]) for step, slots in of_epoch for slot in slots]
        assert sorted(failed) == sorted(parent.failing)
    assert set(parent.settled.values()) == {1}
    assert parent.held() == []
    assert parent.state.next_run(100) == []


@ORDERS
@settings(max_examples=120, deadline=None)
@given(geometry=geometries(), epochs=st.integers(1, 3), seed=SEEDS, moves=st.integers(0, 400))
def test_whoever_dies_when_every_sample_is_delivered_once_an_epoch(
    make_job: MakeJob, order: str, geometry: dict[str, Any], epochs: int, seed: int, moves: int
) -> None:
    random = Random(seed)
    parent = Parent(make_job(**geometry, order=order), epochs, random, workers=random.randint(1, 3))
    parent.play(moves, death_rate=0.1)
    parent.drain()
    check(parent, epochs, geometry["n"])


@ORDERS
@settings(max_examples=80, deadline=None)
@given(geometry=geometries(), seed=SEEDS, moves=st.integers(0, 400))
def test_failures_and_deaths_together_still_add_up(
    make_job: MakeJob, order: str, geometry: dict[str, Any], seed: int, moves: int
) -> None:
    random = Random(seed)
    parent = Parent(make_job(**geometry, order=order, on_error="skip", max_error_rate=1.0), 2, random, workers=2)
    parent.failing = {index for index in range(geometry["n"]) if random.random() < 0.3}
    parent.play(moves, death_rate=0.05)
    parent.drain()
    check(parent, 2, geometry["n"])


@ORDERS
@settings(max_examples=80, deadline=None)
@given(geometry=geometries(), seed=SEEDS, moves=st.integers(0, 300))
def test_after_closing_the_open_steps_slabs_come_back_only_when_nobody_writes(
    make_job: MakeJob, order: str, geometry: dict[str, Any], seed: int, moves: int
) -> None:
    parent = Parent(make_job(**geometry, order=order), 2, Random(seed), workers=2)
    parent.play(moves, death_rate=0.05)
    ring = parent.job.workspace.ring
    opened = [step.slab for step in parent.state._steps.values() if step.slab is not None]
    parent.state.close()
    held = parent.held()
    assert parent.state.next_run(10) == []
    assert parent.state.place_next() is None
    for ticket in held:
        parent.state.give_back(ticket)
    assert parent.state.next_run(10) == []
    assert parent.state.done(held[:3], [0.0] * len(held[:3])) is None
    if ring is None:
        return
    assert not {id(slab) for slab in opened} & {id(slab) for slab in ring._free}
    parent.state.recover_slabs()
    parent.state.recover_slabs()  # a second time gives nothing twice
    free = [id(slab) for slab in ring._free]
    assert {id(slab) for slab in opened} <= set(free)
    assert len(free) == len(set(free)) == ring.allocated


@pytest.mark.parametrize("order", ["window", "any"])
def test_what_had_arrived_at_a_dead_worker_gets_no_slot_before_it_arrives_again(make_job: MakeJob, order: str) -> None:
    job = make_job(20, 4, order=order, look_ahead=16)
    parent = Parent(job, 1, Random(0), workers=1)
    assert parent.state.next_run(4) == [0, 1, 2, 3]
    for ticket in (2, 3, 0):
        parent.state.arrived(ticket)
    for ticket in range(4):
        parent.state.give_back(ticket)
    assert parent.state.place_next() is None
    assert parent.state.next_run(4) == [0, 1, 2, 3]  # before anything new
    parent.state.arrived(0)
    placed = parent.state.place_next()
    assert placed is not None
    assert (placed[0], placed[1].index, placed[2]) == (0, 0, 0)


def test_returned_tickets_of_several_steps_come_in_runs_of_one_step_each(make_job: MakeJob) -> None:
    state = ElsewhereState(make_job(20, 4, look_ahead=20), 0, 0)
    runs = [state.next_run(3) for _ in range(4)]
    assert runs == [[0, 1, 2], [3], [4, 5, 6], [7]]
    for ticket in (5, 1, 3):
        state.give_back(ticket)
    assert [state.next_run(16) for _ in range(3)] == [[1, 3], [5], [8, 9, 10, 11]]
