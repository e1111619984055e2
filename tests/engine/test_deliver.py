"""From a whole step to the consumer's batch: stand-ins, validity, weights, the rate of failures, the count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioloader.engine.decoding import decode_item
from aioloader.engine.deliver import PROBATION_SAMPLES, deliver, stand_ins
from aioloader.engine.job import Job
from aioloader.engine.state import StreamState
from aioloader.engine.step import Step
from aioloader.errors import (
    AccessDeniedError,
    DecodeError,
    InvariantError,
    ObjectNotFoundError,
    OptionError,
    SampleError,
    SkipBudgetExceededError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.types import Batch

MakeJob = Callable[..., Job]


def run_epoch(job: Job, bad: dict[int, SampleError] | None = None, epoch: int = 0) -> Iterator[Step]:
    """Every step of an epoch, decoded, one at a time; ``bad`` maps sample ids to how they fail."""
    state = StreamState(job, epoch, epoch)
    for ticket in range(job.plan.slots_per_epoch):
        assert state.next_ticket() == ticket
        sample = state.sample(ticket)
        error = (bad or {}).get(sample.index)
        if error is not None:
            state.failed(ticket, error)
        else:
            state.offer(state.item(ticket, sample, str(sample.index).encode()))
        while (item := state.take()) is not None:
            decode_item(job, item, state.settle)
            state.decoded(item, 0.002, None)
        while (whole := state.pop()) is not None:
            yield whole


def batches(job: Job, bad: dict[int, SampleError] | None = None, epoch: int = 0) -> list[Batch]:
    return [deliver_and_count(job, step) for step in run_epoch(job, bad, epoch)]


def deliver_and_count(job: Job, step: Step) -> Batch:
    batch = deliver(job, step)
    job.counters.received(job.counters.asked(), step.n_real, len(step.failures))
    return batch


def gone(*indices: int) -> dict[int, SampleError]:
    return {index: ObjectNotFoundError("gone", f"{index:04}") for index in indices}


def test_a_batch_is_a_tuple_of_aligned_writable_arrays_with_its_ids(make_job: MakeJob) -> None:
    labels = np.arange(10) * 10
    found = batches(make_job(10, 4, labels=labels))
    assert [len(batch.sample_ids) for batch in found] == [4, 4, 2]
    for number, batch in enumerate(found):
        x, y = batch
        assert (batch.epoch, batch.step) == (0, number)
        assert np.array_equal(x[:, 0], batch.sample_ids)
        assert np.array_equal(y, batch.sample_ids * 10)
        assert batch.valid.all()
        assert x.flags.writeable
        assert x.__array_interface__["data"][0] % 64 == 0
    assert np.concatenate([batch.sample_ids for batch in found]).tolist() == list(range(10))


def test_a_dataset_without_labels_gives_batches_of_one(make_job: MakeJob) -> None:
    (batch,) = batches(make_job(3, 4))
    assert len(batch) == 1
    assert batch[0].tolist() == [[0] * 3, [1] * 3, [2] * 3]


def test_decode_times_are_counted_when_the_batch_is_delivered(make_job: MakeJob) -> None:
    job = make_job(10, 4)
    batches(job)
    assert job.counters.decode.latency.count == 10
    assert job.counters.decode.latency.max_s == 0.002


# -- failures --------------------------------------------------------------------------------------------


def test_the_first_failed_slot_is_raised_whichever_failed_first(make_job: MakeJob) -> None:
    job = make_job(4, 4)
    state = StreamState(job, 0, 0)
    for ticket in reversed(range(4)):
        state.failed(ticket, ObjectNotFoundError(f"slot {ticket}", "a"))
    whole = state.pop()
    assert whole is not None
    with pytest.raises(ObjectNotFoundError, match="slot 0"):
        deliver(job, whole)


def test_what_may_not_be_skipped_is_raised_before_an_earlier_slot_that_may(make_job: MakeJob) -> None:
    job = make_job(4, 4, on_error="skip")
    (step,) = run_epoch(job, {0: ObjectNotFoundError("gone", "0"), 2: AccessDeniedError("refused", "2")})
    with pytest.raises(AccessDeniedError, match="refused"):
        deliver(job, step)
    assert job.ledger.entries == ()


def test_a_stand_in_is_a_good_sample_of_the_batch_with_its_label_and_in_the_ledger(make_job: MakeJob) -> None:
    job = make_job(8, 4, on_error="skip", labels=np.arange(8) * 10, shuffle=True, seed=3)
    found = batches(job, gone(1, 6))
    entries = {entry.sample_id: entry for entry in job.ledger.entries}
    assert set(entries) == {1, 6}
    for batch in found:
        x, y = batch
        good = set(batch.sample_ids[batch.valid].tolist())
        for slot, index in enumerate(batch.sample_ids.tolist()):
            source = entries[index].stand_in if index in entries else index
            assert source in good
            assert (x[slot, 0], y[slot]) == (source, source * 10)
            assert batch.valid[slot] == (index not in entries)
    for index, entry in entries.items():
        assert (entry.epoch, entry.stage, entry.error, entry.key) == (0, "fetch", "gone", f"{index:04}")
    assert job.counters.skipped == 2


@settings(max_examples=80, deadline=None)
@given(batch_size=st.integers(1, 8), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 99), data=st.data())
def test_stand_ins_are_a_function_of_seed_epoch_and_position(
    batch_size: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    failed = data.draw(st.lists(st.integers(0, batch_size - 1), unique=True))

    def step_failing(slots: list[int]) -> Step:
        positions = np.arange(batch_size, dtype=np.int64) + 40
        step = Step(0, epoch, 10, positions, batch_size, positions, 0)
        step.failures.extend((slot, DecodeError("broken", "a")) for slot in slots)
        return step

    chosen = stand_ins(step_failing(failed), seed)
    assert chosen == stand_ins(step_failing(failed[::-1]), seed)  # the order of failing is a matter of timing
    if len(failed) == batch_size:
        assert chosen == {}
    else:
        assert list(chosen) == sorted(failed)  # the order of the ledger
        assert not set(chosen.values()) & set(failed)


def test_other_epochs_choose_other_stand_ins(make_job: MakeJob) -> None:
    sources = set()
    for epoch in range(12):
        job = make_job(16, 16, on_error="skip")
        batches(job, gone(5), epoch)
        sources.add(job.ledger.entries[0].stand_in)
    assert len(sources) > 4


def test_a_batch_without_a_good_sample_is_raised_with_the_cause(make_job: MakeJob) -> None:
    job = make_job(8, 4, on_error="skip")
    first, second = run_epoch(job, gone(4, 5, 6, 7))
    deliver(job, first)
    with pytest.raises(SkipBudgetExceededError, match="epoch 0, step 1: every sample of the batch failed") as caught:
        deliver(job, second)
    assert isinstance(caught.value.__cause__, ObjectNotFoundError)


def test_a_first_batch_without_a_good_sample_is_raised_too(make_job: MakeJob) -> None:
    job = make_job(4, 4, on_error="skip")
    (step,) = run_epoch(job, gone(0, 1, 2, 3))
    assert step.slab is None
    with pytest.raises(SkipBudgetExceededError, match="step 0: every sample"):
        deliver(job, step)


def test_the_rate_of_failures_counts_only_after_the_probation(make_job: MakeJob) -> None:
    n = 2 * PROBATION_SAMPLES
    job = make_job(n, 10, on_error="skip", max_error_rate=0.05, look_ahead=n)
    steps = list(run_epoch(job, gone(*range(0, n, 10))))  # one in ten
    before = PROBATION_SAMPLES // 10 - 1
    for step in steps[:before]:
        deliver_and_count(job, step)
    with pytest.raises(SkipBudgetExceededError, match=r"10 of 100 samples failed, .*max_error_rate=0.05 ") as caught:
        deliver(job, steps[before])
    assert isinstance(caught.value.__cause__, ObjectNotFoundError)
    assert len(job.ledger.entries) == 10  # the one that broke the limit is in the ledger as well


def test_at_the_rate_itself_the_run_goes_on(make_job: MakeJob) -> None:
    n = 2 * PROBATION_SAMPLES
    job = make_job(n, 10, on_error="skip", max_error_rate=0.1, look_ahead=n)
    assert len(batches(job, gone(*range(0, n, 10)))) == n // 10


def test_a_slot_that_holds_another_position_is_never_delivered(make_job: MakeJob) -> None:
    job = make_job(8, 4)
    _, step = run_epoch(job)
    assert step.slab is not None
    step.slab.positions[2] = 5
    with pytest.raises(InvariantError, match="step 1, slot 2: holds position 5, planned was 6"):
        deliver(job, step)


def test_a_slot_that_was_never_written_is_never_delivered(make_job: MakeJob) -> None:
    job = make_job(8, 4)
    step = next(run_epoch(job))
    assert step.slab is not None
    step.slab.clear()
    with pytest.raises(InvariantError, match="slot 0: holds position -1"):
        deliver(job, step)


# -- weights ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labelled:
    id: str
    labels: NDArray[Any]
    classes: list[int]


LABELS = [
    Labelled("int", np.array([0, 1, 2, 0, 2]), [0, 1, 2, 0, 2]),
    Labelled("categorical", np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 2]], [0, 1, 2, 0, 2]),
    Labelled("binary", np.array([[0], [1], [1], [0], [1]], np.float32), [0, 1, 1, 0, 1]),
]


@pytest.mark.parametrize("case", LABELS, ids=lambda case: case.id)
def test_class_weights_follow_the_label_in_each_mode(make_job: MakeJob, case: Labelled) -> None:
    class_weights = {0: 2.0, 2: 0.5}
    job = make_job(5, 5, labels=case.labels, class_weights=class_weights)
    ((_, y, weights),) = batches(job)
    assert np.array_equal(y, case.labels)
    assert weights.dtype == np.float32
    assert weights.tolist() == [class_weights.get(one, 1.0) for one in case.classes]


def test_a_column_of_weights_is_multiplied_with_the_classes_and_zero_for_stand_ins(make_job: MakeJob) -> None:
    job = make_job(
        4,
        4,
        labels=np.array([0, 1, 1, 0]),
        weights=np.array([1, 2, 3, 4], np.float32),
        class_weights={1: 10.0},
        on_error="skip",
        shuffle=True,
    )
    ((_, _, weights),) = found = batches(job, gone(2))
    by_sample = dict(zip(found[0].sample_ids.tolist(), weights.tolist(), strict=True))
    assert by_sample == {0: 1, 1: 20, 2: 0, 3: 4}


def decode_with_weight(data: bytes) -> tuple[Any, ...]:
    return np.full(2, int(data)), int(data) % 2, float(data)


def test_the_decoders_own_weights_are_kept_where_the_loader_adds_some(make_job: MakeJob) -> None:
    job = make_job(4, 4, decode=decode_with_weight, class_weights={1: 10.0})
    ((_, _, weights),) = batches(job)
    assert weights.tolist() == [0, 10, 2, 30]
    assert weights.dtype == np.float32


def test_the_decoders_own_weights_of_each_moment_are_kept_too(make_job: MakeJob) -> None:
    def decode(data: bytes) -> tuple[Any, ...]:
        return np.zeros(2), int(data), np.array([1.0, 2.0, 3.0]) * int(data)

    job = make_job(3, 3, decode=decode, class_weights={2: 10.0})
    ((_, _, weights),) = batches(job)
    assert weights.tolist() == [[0, 0, 0], [1, 2, 3], [20, 40, 60]]


def test_a_stand_in_weighs_nothing_where_the_decoder_emits_the_weights(make_job: MakeJob) -> None:
    job = make_job(4, 4, decode=decode_with_weight, on_error="skip")
    ((_, _, weights),) = batches(job, gone(3))
    assert weights.tolist() == [0, 1, 2, 0]


def test_weights_without_a_label_to_weigh_are_refused(make_job: MakeJob) -> None:
    def decode(data: bytes) -> tuple[Any, ...]:
        return (np.zeros(2),)

    job = make_job(4, 4, decode=decode, labels=np.arange(4), class_weights={1: 2.0})
    with pytest.raises(OptionError, match=r"decode=.*need a y to weigh"):
        batches(job)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_padding_of_ranks_weighs_nothing_and_the_rest_is_the_epoch(make_job: MakeJob, world_size: int) -> None:
    n = 11
    seen: list[int] = []
    for rank in range(world_size):
        job = make_job(
            n, 3, labels=np.arange(n), is_padded=True, rank=rank, world_size=world_size, shuffle=True, seed=5
        )
        for batch in batches(job):
            _, y, weights = batch
            assert np.array_equal(weights, batch.valid.astype(np.float32))
            assert np.array_equal(y, batch.sample_ids)  # a pad is a real sample of another rank
            seen += batch.sample_ids[batch.valid].tolist()
        assert job.counters.samples == sum(job.plan.slice(step).n_real for step in range(job.plan.steps))
    assert sorted(seen) == list(range(n))


# -- memory ----------------------------------------------------------------------------------------------


def test_held_batches_keep_their_bytes_and_copies_are_counted(make_job: MakeJob) -> None:
    job = make_job(60, 2, look_ahead=60)
    held = batches(job)
    ring = job.workspace.ring
    assert ring is not None
    for batch in held:
        assert np.array_equal(batch[0][:, 0], batch.sample_ids)
    assert job.counters.private_copies == ring.private_copies == 30 - ring.ring_slabs
    assert job.counters.slab_bytes == ring.allocated * ring.layout.nbytes <= ring.bound_bytes


def test_too_little_memory_for_a_ring_is_refused_with_the_figure_that_would_do(make_job: MakeJob) -> None:
    job = make_job(8, 4, slab_bytes=900)
    with pytest.raises(OptionError, match=r"max_memory=900 bytes for batches: expected at least") as caught:
        batches(job)
    needed = int(caught.value.expected.split()[2].replace(",", ""))
    assert len(batches(make_job(8, 4, slab_bytes=needed))) == 2
    with pytest.raises(OptionError):
        batches(make_job(8, 4, slab_bytes=needed - 1))


def test_a_ring_that_the_memory_allows_stays_within_it(make_job: MakeJob) -> None:
    job = make_job(8, 4, max_queue_size=50, slab_bytes=5000)
    batches(job)
    ring = job.workspace.ring
    assert ring is not None
    assert 2 <= ring.ring_slabs < 52
    assert ring.bound_bytes <= 5000
