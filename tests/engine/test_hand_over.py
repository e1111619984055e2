"""One stream is handed over to another at whatever moment: together they are as one, driven without a loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioloader.engine.decoding import decode_item
from aioloader.engine.job import Job
from aioloader.engine.state import StreamState
from aioloader.errors import DecodeError, ObjectNotFoundError

if TYPE_CHECKING:
    from aioloader.engine.step import Item, Step

MakeJob = Callable[..., Job]
ORDERS = ("strict", "window", "any")


class Two:
    """A stream, after `hand_over` the one that goes on, and the consumer; one random move at a time."""

    def __init__(self, job: Job, seed: int, *, last_epoch: int, first_epoch: int = 0, first_step: int = 0) -> None:
        self.job = job
        self.states = [StreamState(job, first_epoch, last_epoch, first_step=first_step)]
        self.fetching: list[tuple[int, int]] = []  # (stream, ticket)
        self.decoding: list[tuple[int, Item]] = []
        self.began: list[int] = []
        self.popped: list[Step] = []
        self.fetched_out = 0
        self.border: tuple[int, int] | None = None
        self._random = Random(seed)
        self._reading = 0

    def start(self) -> bool:
        for number, state in enumerate(self.states):
            if number and not self.fetched_out:
                continue
            ticket = state.next_ticket()
            if ticket is not None:
                assert not (number == 0 and self.fetched_out), "the first fetches though it said it will not"
                self.fetching.append((number, ticket))
                return True
        return False

    def arrive(self) -> bool:
        if not self.fetching:
            return False
        number, ticket = self.fetching.pop(self._random.randrange(len(self.fetching)))
        state = self.states[number]
        sample = state.sample(ticket)
        if self.job.options.on_error == "skip" and self._random.random() < 0.1:
            state.failed(ticket, ObjectNotFoundError("gone", str(ticket)))
        else:
            state.offer(state.item(ticket, sample, str(sample.index).encode()))
        return True

    def take(self) -> bool:
        for number in self._random.sample(range(len(self.states)), len(self.states)):
            item = self.states[number].take()
            if item is not None:
                self.decoding.append((number, item))
                return True
        return False

    def finish(self) -> bool:
        if not self.decoding:
            return False
        number, item = self.decoding.pop(self._random.randrange(len(self.decoding)))
        state = self.states[number]
        if self.job.options.on_error == "skip" and self._random.random() < 0.1:
            state.decoded(item, 0.001, DecodeError("broken", "a"))
        else:
            decode_item(self.job, item, state.settle)
            state.decoded(item, 0.001, None)
        return True

    def pop(self) -> bool:
        old = self.states[0]
        if self.border is not None and old.left[0] == 0:
            self._reading = 1
        step = self.states[self._reading].pop()
        if step is None:
            return False
        if self.border is not None:
            self.states[1].set_ahead_elsewhere(*old.left)
        self.popped.append(step)
        if step.slab is not None:
            assert self.job.workspace.ring is not None
            failed = {slot for slot, _ in step.failures}
            for slot in range(step.slots):
                assert (step.slab.positions[slot] == step.positions[slot]) == (slot not in failed)
            self.job.workspace.ring.give_back(step.slab)
        return True

    def hand_over(self) -> bool:
        if self.border is not None:
            return False
        self.border = self.states[0].hand_over()
        if self.border is None:
            return False
        epoch, number = self.border
        new = StreamState(self.job, epoch, self.states[0].last_epoch, first_step=number)
        new.set_ahead_elsewhere(*self.states[0].left)
        self.states.append(new)
        self.states[0].when_fetched(self._count_fetched_out)
        return True

    def _count_fetched_out(self) -> None:
        assert not [ticket for number, ticket in self.fetching if number == 0], "it still fetches"
        self.fetched_out += 1

    def play(self, moves: int, hand_over_at: int) -> None:
        names: list[Callable[[], bool]] = [self.start, self.arrive, self.take, self.finish, self.pop]
        for count in range(moves):
            if count >= hand_over_at:
                self.hand_over()
            self._random.choices(names, [6, 6, 6, 5, 2])[0]()
            self._check_memory()

    def drain(self) -> None:
        while self.start() or self.arrive() or self.take() or self.finish() or self.pop():
            self._check_memory()

    def _check_memory(self) -> None:
        slabs = [step.slab for state in self.states for step in state._steps.values() if step.slab is not None]
        assert len({id(slab) for slab in slabs}) == len(slabs) <= self.job.workspace.open_steps
        begun = sum(state._tickets._cursor for state in self.states)
        taken = sum(step.slots for step in self.popped)
        assert begun - taken <= self.job.options.look_ahead


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    batch_size = draw(st.integers(1, 5))
    return {
        "n": draw(st.integers(1, 25)),
        "batch_size": batch_size,
        "workers": draw(st.integers(1, 3)),
        "look_ahead": batch_size + draw(st.integers(0, 25)),
        "max_queue_size": draw(st.integers(1, 4)),
        "shuffle": draw(st.booleans()),
        "drop_last": False,
    }


@settings(max_examples=300, deadline=None)
@given(
    geometry=jobs(),
    order=st.sampled_from(ORDERS),
    on_error=st.sampled_from(["skip", "raise"]),
    epochs=st.integers(1, 3),
    hand_over_at=st.integers(0, 200),
    seed=st.integers(0, 2**32),
)
def test_wherever_a_stream_is_handed_over_both_are_as_one(
    make_job: MakeJob, geometry: dict[str, Any], order: str, on_error: str, epochs: int, hand_over_at: int, seed: int
) -> None:
    job = make_job(**geometry, order=order, on_error=on_error)
    two = Two(job, seed, last_epoch=epochs - 1)
    two.play(250, hand_over_at)
    two.hand_over()
    two.drain()
    steps = job.plan.steps
    assert [(step.epoch, step.number) for step in two.popped] == [
        (epoch, number) for epoch in range(epochs) for number in range(steps)
    ]
    for epoch in range(epochs):
        of_epoch = two.popped[epoch * steps : (epoch + 1) * steps]
        every_one = Counter(range(len(job.samples)))
        assert Counter(position for step in of_epoch for position in step.positions.tolist()) == every_one
        assert Counter(index for step in of_epoch for index in step.sample_ids.tolist()) == every_one
    if order == "strict":
        undisturbed = Two(make_job(**geometry, on_error=on_error), seed, last_epoch=epochs - 1)
        undisturbed.drain()
        assert [step.sample_ids.tolist() for step in two.popped] == [
            step.sample_ids.tolist() for step in undisturbed.popped
        ]
    assert two.fetched_out == (two.border is not None)


@settings(max_examples=150, deadline=None)
@given(
    geometry=jobs(),
    order=st.sampled_from(ORDERS),
    world_size=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_a_stream_that_starts_in_mid_epoch_gives_what_is_left_of_it(
    make_job: MakeJob, geometry: dict[str, Any], order: str, world_size: int, seed: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, world_size - 1))
    job = make_job(**geometry, order=order, rank=rank, world_size=world_size, is_padded=world_size > 1)
    first_step = data.draw(st.integers(0, job.plan.steps - 1))
    two = Two(job, seed, first_epoch=3, last_epoch=4, first_step=first_step)
    assert two.states[0].next_epoch_and_step == (3, first_step)
    two.play(100, hand_over_at=data.draw(st.integers(0, 100)))
    two.drain()
    wanted = [(3, number) for number in range(first_step, job.plan.steps)]
    wanted += [(4, number) for number in range(job.plan.steps)]
    assert [(step.epoch, step.number) for step in two.popped] == wanted
    positions = [Counter(position for step in two.popped if step.epoch == epoch for position in step.positions.tolist())
                 for epoch in (3, 4)]  # fmt: skip
    for epoch, found in zip((3, 4), positions, strict=True):
        numbers = [number for wanted_epoch, number in wanted if wanted_epoch == epoch]
        assert found == Counter(
            position for number in numbers for position in job.plan.slice(number).positions.tolist()
        )


def test_a_stream_is_not_handed_over_before_the_fields_are_known(make_job: MakeJob) -> None:
    two = Two(make_job(20, 4), 0, last_epoch=0)
    assert two.start()
    assert not two.hand_over()
    two.play(200, hand_over_at=300)
    assert two.hand_over()


@pytest.mark.parametrize("order", ORDERS)
def test_a_stream_that_a_failure_ends_is_not_handed_over(make_job: MakeJob, order: str) -> None:
    two = Two(make_job(20, 4, order=order), 0, last_epoch=0)
    assert all(move() for move in (two.start, two.arrive, two.take, two.finish))
    assert two.job.workspace.ring is not None
    state = two.states[0]
    ticket = state.next_ticket()
    assert ticket is not None
    state.failed(ticket, ObjectNotFoundError("gone", "a"))
    assert state.hand_over() is None


def test_a_failure_after_the_hand_over_keeps_the_next_one_from_fetching(make_job: MakeJob) -> None:
    two = Two(make_job(20, 4, look_ahead=6, max_queue_size=4), 0, last_epoch=0)
    while two.start() or two.arrive() or two.take() or two.finish():
        pass
    assert two.job.workspace.ring is not None
    state = two.states[0]
    assert two.hand_over()
    assert two.border == (0, 2)
    two.pop()  # two more may be begun
    ticket = state.next_ticket()
    assert ticket == 6
    state.failed(ticket, ObjectNotFoundError("gone", "a"))
    while two.start() or two.arrive() or two.take() or two.finish() or two.pop():
        pass
    assert not two.fetched_out or state.left[0] == 0
