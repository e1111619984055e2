"""The stream's state machine, driven step by step without a loop or a thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioloader.engine.decoding import decode_item
from aioloader.engine.job import Job
from aioloader.engine.state import StreamState
from aioloader.errors import AccessDeniedError, DecodeError, LoaderClosedError, ObjectNotFoundError, SampleError
from aioloader.types import FieldSpec

if TYPE_CHECKING:
    from aioloader.engine.step import Item, Step

MakeJob = Callable[..., Job]


class Driver:
    """Fetchers, decoders and the consumer, one move at a time; checks each move against its own books."""

    def __init__(self, job: Job, first_epoch: int = 0, last_epoch: int = 0) -> None:
        self.job = job
        self.state = StreamState(job, first_epoch, last_epoch)
        self.cursor = 0
        self.fetching: list[int] = []
        self.places: dict[int, tuple[Step, int]] = {}
        self.arrived: set[int] = set()
        self.decoding: list[Item] = []
        self.taken: Counter[int] = Counter()
        self.failed: set[int] = set()
        self.settled: Counter[int] = Counter()
        self.popped: list[Step] = []
        self.waiting = False
        self.wakes = 0

    # -- moves -------------------------------------------------------------------------------------------

    def start(self) -> bool:
        ticket = self.state.next_ticket()
        if ticket is None:
            return False
        assert ticket == self.cursor
        self.places[ticket] = self.state.place(ticket)
        self.fetching.append(ticket)
        self.cursor += 1
        return True

    def arrive(self, choice: int) -> bool:
        if not self.fetching:
            return False
        ticket = self.fetching.pop(choice % len(self.fetching))
        sample = self.state.sample(ticket)
        self.arrived.add(ticket)
        self.state.offer(self.state.item(ticket, sample, str(sample.index).encode()))
        return True

    def fail_fetch(self, choice: int, error: SampleError | None = None) -> bool:
        if not self.fetching:
            return False
        ticket = self.fetching.pop(choice % len(self.fetching))
        self.failed.add(ticket)
        waiter = self.state.failed(ticket, error or ObjectNotFoundError("gone", str(ticket)))
        self._settled(self.places[ticket][0], waiter)
        return True

    def take(self) -> bool:
        known = self.job.workspace.ring is not None
        item = self.state.take()
        if item is None:
            return False
        assert item.ticket == min(self.arrived), "a younger sample was decoded first"
        step, slot = self.places[item.ticket]
        assert step.index < len(self.popped) + self.job.workspace.open_steps, "decoded beyond the queue"
        assert item.slot == slot
        if known:
            assert item.slab is not None
            assert item.slab is step.slab
        else:
            oldest = next(ticket for ticket in range(self.cursor) if ticket not in self.failed)
            assert item.ticket == oldest, "another than the first sample would set the shapes"
            assert not self.decoding, "two probes at once"
        self.arrived.remove(item.ticket)
        self.taken[item.ticket] += 1
        self.decoding.append(item)
        assert len(self.decoding) <= self.job.options.workers
        return True

    def finish(self, choice: int, error: SampleError | None = None) -> bool:
        if not self.decoding:
            return False
        item = self.decoding.pop(choice % len(self.decoding))
        if error is None:
            decode_item(self.job, item, self.state.settle)
        else:
            self.failed.add(item.ticket)
        self._settled(self.places[item.ticket][0], self.state.decoded(item, 0.001, error))
        return True

    def pop(self) -> bool:
        step = self.state.pop(self._woken)
        if step is None:
            assert not self.next_is_whole()
            self.waiting = True
            return False
        assert self.next_is_whole()
        assert step.index == len(self.popped)
        self.waiting = False
        self.popped.append(step)
        if step.slab is not None:
            assert self.job.workspace.ring is not None
            failed = {slot for slot, _ in step.failures}
            for slot in range(step.slots):
                assert (step.slab.positions[slot] == step.positions[slot]) == (slot not in failed)
            self.job.workspace.ring.give_back(step.slab)
        return True

    # -- books -------------------------------------------------------------------------------------------

    def _woken(self) -> None:
        self.wakes += 1
        self.waiting = False

    def _settled(self, step: Step, waiter: Callable[[], None] | None) -> None:
        self.settled[step.index] += 1
        expected = self.waiting and self.next_is_whole()
        assert (waiter is not None) == expected, "a wake-up was lost, or came for nothing"
        if waiter is not None:
            waiter()

    def next_is_whole(self) -> bool:
        index = len(self.popped)
        return self.settled[index] > 0 and self.settled[index] == self.job.plan.slots(index % self.job.plan.steps)

    def drain(self) -> None:
        """Let everything that can move do so, until nothing does."""
        moved = True
        while moved:
            moved = self.start() or self.arrive(0) or self.take() or self.finish(0) or self.pop()


NAMES = ["start"] * 6 + ["arrive"] * 6 + ["take"] * 6 + ["finish"] * 5 + ["pop"] * 2 + ["lose", "spoil"]
MOVE = st.tuples(st.sampled_from(NAMES), st.integers(0, 50))


def random_moves(seed: int, count: int) -> list[tuple[str, int]]:
    random = Random(seed)
    return [(random.choice(NAMES), random.randrange(50)) for _ in range(count)]


# Long histories come from a seed: hypothesis's own lists are mostly too short to get beyond the first sample.
MOVES = st.one_of(st.lists(MOVE, max_size=60), st.builds(random_moves, st.integers(0, 2**32), st.integers(0, 300)))


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    batch_size = draw(st.integers(1, 6))
    return {
        "n": draw(st.integers(1, 25)),
        "batch_size": batch_size,
        "workers": draw(st.integers(1, 4)),
        "look_ahead": batch_size + draw(st.integers(0, 25)),  # less than a batch would never fill one
        "max_queue_size": draw(st.integers(1, 4)),
        "shuffle": draw(st.booleans()),
    }


GEOMETRY = geometries()


def play(driver: Driver, moves: list[tuple[str, int]]) -> None:
    for move, choice in moves:
        if move == "start":
            driver.start()
        elif move == "arrive":
            driver.arrive(choice)
        elif move == "take":
            driver.take()
        elif move == "finish":
            driver.finish(choice)
        elif move == "pop":
            driver.pop()
        elif move == "lose":
            driver.fail_fetch(choice)
        else:
            driver.finish(choice, DecodeError("broken", "a"))
        slabs = [step.slab for step in driver.state._steps.values() if step.slab is not None]
        assert len({id(slab) for slab in slabs}) == len(slabs) <= driver.job.workspace.open_steps


@settings(max_examples=150, deadline=None)
@given(geometry=GEOMETRY, epochs=st.integers(1, 3), moves=MOVES)
def test_whatever_the_order_of_events_steps_come_in_order_and_each_position_once(
    make_job: MakeJob, geometry: dict[str, Any], epochs: int, moves: list[tuple[str, int]]
) -> None:
    job = make_job(**geometry, on_error="skip")
    driver = Driver(job, 4, 4 + epochs - 1)
    play(driver, moves)
    driver.drain()
    steps = job.plan.steps
    assert [(step.epoch, step.number) for step in driver.popped] == [
        (4 + epoch, number) for epoch in range(epochs) for number in range(steps)
    ]
    for epoch in range(epochs):
        of_epoch = driver.popped[epoch * steps : (epoch + 1) * steps]
        assert Counter(position for step in of_epoch for position in step.positions.tolist()) == Counter(
            range(len(job.samples))
        )
        assert Counter(index for step in of_epoch for index in step.sample_ids.tolist()) == Counter(
            range(len(job.samples))
        )
    assert driver.cursor == epochs * job.plan.slots_per_epoch
    assert max(driver.taken.values(), default=1) == 1
    assert sum(len(step.failures) for step in driver.popped) == len(driver.failed)
    assert job.counters.queue._length == 0


@settings(max_examples=150, deadline=None)
@given(geometry=GEOMETRY, moves=MOVES)
def test_a_failure_that_is_raised_stops_the_fetches_after_its_step(
    make_job: MakeJob, geometry: dict[str, Any], moves: list[tuple[str, int]]
) -> None:
    job = make_job(**geometry)
    driver = Driver(job, 0, 1)
    first_failing: Step | None = None
    for move in moves:
        before = driver.cursor
        play(driver, [move])
        if first_failing is not None and driver.cursor > before:
            last = driver.state._plan.first_ticket(first_failing.index + 1)
            assert before < last, "fetched after the failing step"
        if first_failing is None and driver.failed:
            (ticket,) = driver.failed
            first_failing = driver.popped[-1] if not driver.state._steps else driver.places[ticket][0]
    driver.drain()
    if not driver.failed:
        assert len(driver.popped) == 2 * job.plan.steps
    else:
        # The consumer gets every step before the failing one, and that one, in which `deliver` finds the error.
        assert any(step.failures for step in driver.popped)
        failing = next(step for step in driver.popped if step.failures)
        assert [step.index for step in driver.popped[: failing.index + 1]] == list(range(failing.index + 1))


@settings(max_examples=150, deadline=None)
@given(geometry=GEOMETRY, moves=MOVES)
def test_closing_gives_back_only_the_slabs_that_nobody_writes(
    make_job: MakeJob, geometry: dict[str, Any], moves: list[tuple[str, int]]
) -> None:
    job = make_job(**geometry, on_error="skip")
    driver = Driver(job)
    play(driver, moves)
    ring = job.workspace.ring
    open_slabs = [step.slab for step in driver.state._steps.values() if step.slab is not None]
    written = {id(driver.places[item.ticket][0].slab) for item in driver.decoding}
    was_waiting = driver.waiting
    waiter = driver.state.close()
    assert (waiter is not None) == was_waiting
    if ring is not None:
        free = [id(slab) for slab in ring._free]
        assert len(set(free)) == len(free)
        for slab in open_slabs:
            assert (id(slab) in free) == (id(slab) not in written)
    while driver.decoding:  # the running ones end later: unheard, and their slabs stay out
        item = driver.decoding.pop()
        decode_item(job, item, driver.state.settle)
        assert driver.state.decoded(item, 0.001, None) is None
    if ring is not None:
        assert not written & {id(slab) for slab in ring._free}
    for ticket in driver.fetching:
        driver.state.offer(driver.state.item(ticket, job.samples[0], b"0"))
        assert driver.state.failed(ticket, ObjectNotFoundError("gone", "a")) is None
    assert driver.state.take() is None
    assert driver.state.close() is None
    with pytest.raises(LoaderClosedError, match="ended under its consumer"):
        driver.state.pop()
    assert job.counters.queue._length == 0


def test_before_the_shapes_are_known_only_the_first_sample_is_decoded(make_job: MakeJob) -> None:
    driver = Driver(make_job(8, 4, workers=4))
    while driver.start():
        pass
    driver.arrive(3)
    driver.arrive(1)
    assert not driver.take()
    driver.arrive(0)
    assert driver.take()
    assert not driver.take()
    driver.finish(0)
    assert driver.take()
    assert driver.take()


def test_the_place_of_the_first_moves_on_over_every_sample_that_failed(make_job: MakeJob) -> None:
    driver = Driver(make_job(8, 4, on_error="skip"))
    for _ in range(4):
        driver.start()
    driver.fail_fetch(1)  # ticket 1, while 0 is still on its way
    driver.arrive(1)  # ticket 2
    assert not driver.take()
    driver.arrive(0)  # ticket 0
    driver.take()
    driver.finish(0, DecodeError("broken", "a"))
    assert driver.take()
    assert driver.decoding[0].ticket == 2


def test_a_failure_that_may_not_be_skipped_stops_the_fetches_as_well(make_job: MakeJob) -> None:
    driver = Driver(make_job(20, 4, on_error="skip"))
    for _ in range(2):
        driver.start()
    driver.fail_fetch(0, AccessDeniedError("refused", "a"))
    while driver.start():
        pass
    assert driver.cursor == 4


def test_the_decoders_stay_within_the_queue_and_the_fetchers_within_the_look_ahead(make_job: MakeJob) -> None:
    job = make_job(40, 2, max_queue_size=2, look_ahead=12, workers=8)
    driver = Driver(job)
    while driver.start() or driver.arrive(0) or driver.take() or driver.finish(0):
        pass
    assert driver.cursor == 12
    assert sum(driver.taken.values()) == 2 * job.workspace.open_steps == 4
    driver.pop()
    while driver.start() or driver.arrive(0) or driver.take() or driver.finish(0):
        pass
    assert driver.cursor == 14
    assert sum(driver.taken.values()) == 6


def test_fetching_stops_at_the_end_of_the_last_epoch_until_it_is_extended(make_job: MakeJob) -> None:
    driver = Driver(make_job(5, 2, look_ahead=100), 3, 3)
    while driver.start():
        pass
    assert driver.cursor == 5
    driver.state.last_epoch = 4
    driver.start()
    step, slot = driver.places[driver.fetching[-1]]
    assert (step.epoch, step.number, slot) == (4, 0, 0)


def test_the_next_step_is_named_across_the_epochs_border(make_job: MakeJob) -> None:
    driver = Driver(make_job(4, 2), 7, 8)
    assert driver.state.next_epoch_and_step == (7, 0)
    driver.drain()
    assert driver.state.next_epoch_and_step == (9, 0)


def test_what_broke_a_stream_is_raised_in_its_consumer(make_job: MakeJob) -> None:
    driver = Driver(make_job(4, 2))
    driver.pop()
    error = ValueError("the engine is ill")
    waiter = driver.state.close(broken=error)
    assert waiter is not None
    with pytest.raises(ValueError, match="ill") as caught:
        driver.state.pop()
    assert caught.value is error


def test_a_finished_step_behind_one_that_is_missing_does_not_count_as_ready(make_job: MakeJob) -> None:
    job = make_job(12, 2, max_queue_size=4, workers=8)
    state = StreamState(job, 0, 0)
    for _ in range(8):
        ticket = state.next_ticket()
        assert ticket is not None
        state.offer(state.item(ticket, state.sample(ticket), b"x"))
    items = []
    for _ in range(8):
        item = state.take()
        assert item is not None
        if item.slab is None:
            state.settle(item, FieldSpec((1,), np.dtype("int64")))
        items.append(item)
    for item in items[2:]:
        state.decoded(item, 0.001, None)
    assert job.counters.queue.length == 0
    state.decoded(items[0], 0.001, None)
    assert job.counters.queue.length == 0
    state.decoded(items[1], 0.001, None)
    assert job.counters.queue.length == 4
    assert state.pop() is not None
    assert job.counters.queue.length == 3
