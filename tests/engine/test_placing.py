"""Slots as samples arrive: each position once, never beyond the window, stand-ins at the end."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.engine import state as state_module
from aioloader.engine.decoding import decode_item
from aioloader.engine.deliver import deliver
from aioloader.engine.state import StreamState
from aioloader.errors import InvariantError, ObjectNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job
    from aioloader.engine.step import Step

    MakeJob = Callable[..., Job]


def run(job: Job, random: Random, epochs: int, failing: frozenset[int] = frozenset()) -> list[tuple[Step, Any]]:
    """Every batch of the epochs, with samples arriving and decoders finishing in random order."""
    state = StreamState(job, 0, epochs - 1)
    fetching: list[int] = []
    decoding: list[Any] = []
    found: list[tuple[Step, Any]] = []
    for _ in range(100_000):
        if len(found) == epochs * job.plan.steps:
            return found
        move = random.randrange(5)
        if move < 2:
            ticket = state.next_ticket()
            if ticket is not None:
                fetching.append(ticket)
        elif move == 2 and fetching:
            ticket = fetching.pop(random.randrange(len(fetching)))
            sample = state.sample(ticket)
            if sample.index in failing:
                state.failed(ticket, ObjectNotFoundError("gone", sample.key))
            else:
                state.offer(state.item(ticket, sample, str(sample.index).encode()))
        elif move == 3:
            item = state.take()
            if item is not None:
                decoding.append(item)
        elif decoding:
            item = decoding.pop(random.randrange(len(decoding)))
            decode_item(job, item, state.settle)
            state.decoded(item, 0.001, None)
        step = state.pop()
        if step is not None:
            found.append((step, deliver(job, step)))
    raise AssertionError("nothing moves any more")


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 7),
    world_size=st.integers(1, 3),
    order=st.sampled_from(["window", "any"]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_every_sample_comes_once_an_epoch_whatever_arrives_when(
    make_job: MakeJob, n: int, batch_size: int, world_size: int, order: str, seed: int, data: st.DataObject
) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    slots: set[int] = set()
    for rank in range(world_size):
        job = make_job(
            n,
            batch_size,
            rank=rank,
            world_size=world_size,
            order=order,
            shuffle=True,
            look_ahead=data.draw(st.integers(2 * batch_size, 30)),
            is_padded=world_size > 1,
        )
        for step, batch in run(job, Random(seed + rank), epochs=2):
            assert batch[0][:, 0].tolist() == batch.sample_ids.tolist()
            seen.update((batch.epoch, int(index)) for index in batch.sample_ids[batch.valid])
            slots.add(len(batch.sample_ids) if step.number == job.plan.steps - 1 else -1)
    assert seen == Counter({(epoch, index): 1 for epoch in range(2) for index in range(n)})
    assert len(slots - {-1}) == 1, "ranks with batches of other lengths"


def test_a_sample_that_does_not_arrive_holds_nobody_back_but_at_the_windows_end(make_job: MakeJob) -> None:
    job = make_job(100, 4, order="window", look_ahead=20)
    state = StreamState(job, 0, 0)
    delivered: list[int] = []
    arrived = 0
    while True:
        ticket = state.next_ticket()
        if ticket is None:
            break
        if ticket == 1:
            continue  # never arrives
        arrived += 1
        state.offer(state.item(ticket, state.sample(ticket), str(ticket).encode()))
        while (item := state.take()) is not None:
            decode_item(job, item, state.settle)
            state.decoded(item, 0.001, None)
        while (step := state.pop()) is not None:
            delivered += deliver(job, step).sample_ids.tolist()
    assert ticket is None
    assert arrived == 20, "tickets 0 and 2 to 20: twenty beyond the one that is missing"
    assert delivered == [0, *range(2, 21)]


def test_any_lets_samples_be_further_out_of_order_than_the_look_ahead(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "ANY_WINDOW", 60)
    job = make_job(100, 4, order="any", look_ahead=20)
    state = StreamState(job, 0, 0)
    tickets = []
    while (ticket := state.next_ticket()) is not None:
        tickets.append(ticket)
        if ticket == 1:
            continue
        state.offer(state.item(ticket, state.sample(ticket), str(ticket).encode()))
        while (item := state.take()) is not None:
            decode_item(job, item, state.settle)
            state.decoded(item, 0.001, None)
        while state.pop() is not None:
            pass
    assert tickets == list(range(61))


def test_a_failed_sample_has_a_stand_in_of_the_batch_it_fell_into(make_job: MakeJob) -> None:
    job = make_job(30, 5, order="window", on_error="skip", max_error_rate=1.0)
    found = run(job, Random(3), 1, failing=frozenset({4, 17, 29}))
    missing = [int(index) for _, batch in found for index in batch.sample_ids[~batch.valid]]
    assert sorted(missing) == [4, 17, 29]
    assert {entry.sample_id for entry in job.ledger.entries} == {4, 17, 29}
    for _, batch in found:
        assert set(batch[0][:, 0].astype(int)) == set(batch.sample_ids[batch.valid].tolist())


def test_a_failure_that_ends_the_epoch_is_raised_although_fewer_samples_are_left_than_its_step_has(
    make_job: MakeJob,
) -> None:
    job = make_job(30, 5, order="window", look_ahead=10)
    with pytest.raises(ObjectNotFoundError, match="gone"):
        run(job, Random(1), 1, failing=frozenset({0}))


def test_a_sample_that_is_settled_twice_is_a_defect_that_is_named(make_job: MakeJob) -> None:
    state = StreamState(make_job(20, 4, order="window"), 0, 0)
    state.next_ticket()
    state.failed(0, ObjectNotFoundError("gone", "a"))
    with pytest.raises(InvariantError, match="delivered twice"):
        state.failed(0, ObjectNotFoundError("gone", "a"))


def test_strict_order_fills_the_same_slots_whatever_arrives_when(make_job: MakeJob) -> None:
    def batches(seed: int) -> list[list[int]]:
        job = make_job(40, 6, shuffle=True, seed=9)
        return [batch.sample_ids.tolist() for _, batch in run(job, Random(seed), 2)]

    assert batches(1) == batches(2)
