"""One sample into its slot: what is written where, and who is named when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.engine.decoding import decode_item
from aioloader.engine.job import Job
from aioloader.engine.state import StreamState
from aioloader.errors import DecodeError, ShapeMismatchError, TransformError
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from aioloader.engine.step import Item

MakeJob = Callable[..., Job]


def item_of(job: Job, state: StreamState, ticket: int, **changed: Any) -> Item:
    sample = state.sample(ticket)
    item = state.item(ticket, changed.pop("sample", sample), str(sample.index).encode())
    step, item.slot = state.place(ticket)
    if job.workspace.ring is not None:
        item.slab = job.workspace.slab_for(step)
    for name, value in changed.items():
        setattr(item, name, value)
    return item


def decode_all(job: Job, count: int) -> list[Item]:
    """The first ``count`` samples decoded one after another."""
    state = StreamState(job, 0, 0)
    items = []
    for ticket in range(count):
        items.append(item_of(job, state, ticket))
        decode_item(job, items[-1], state.settle)
    return items


def fields_of(item: Item) -> list[Any]:
    assert item.slab is not None
    return item.slab.fields


def test_the_first_sample_sets_the_fields_and_is_decoded_once(make_job: MakeJob) -> None:
    calls: list[bytes] = []

    def decode(data: bytes) -> Any:
        calls.append(data)
        return {"a": np.full(2, int(data), np.uint8), "b": 1.5}

    items = decode_all(make_job(8, 4, decode=decode, labels=np.arange(8)), 3)
    assert calls == [b"0", b"1", b"2"]
    a, b, _ = fields_of(items[0])
    assert a[:3].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert b[:3].tolist() == [1.5] * 3
    assert items[0].slab is not None
    assert items[0].slab.positions.tolist() == [0, 1, 2, -1]


class Declared:
    """Writes into ``out`` where it gets one."""

    def __init__(self, spec: Any, *, label: bool = False) -> None:
        self._spec = spec
        self._label = label
        self.outs: list[Any] = []

    def spec(self) -> Any:
        return self._spec

    def decode(self, data: bytes, sample: SampleRef, rng: np.random.Generator, out: Any = None) -> Any:
        self.outs.append(out)
        if out is None:
            x = np.full(2, int(data), np.float32)
            return (x, np.int64(7)) if self._label else x
        if self._label:
            out[0][...], out[1][...] = int(data), 7
        else:
            out[...] = int(data)
        return out


X, Y = FieldSpec((2,), np.dtype(np.float32)), FieldSpec((), np.dtype(np.int64))


def test_a_declared_decoder_writes_into_the_slot_itself(make_job: MakeJob) -> None:
    decoder = Declared(X)
    job = make_job(8, 4, decode=decoder, labels=np.arange(8))
    job.workspace.settle(X, job.samples.label_spec, None)
    items = decode_all(job, 3)
    x, _ = fields_of(items[0])
    assert all(np.shares_memory(out, x) for out in decoder.outs)
    assert x[:3].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert items[0].slab is not None
    assert items[0].slab.valid.tolist() == [True] * 3 + [False]


def test_a_declared_tuple_is_written_into_the_slot_as_a_whole(make_job: MakeJob) -> None:
    decoder = Declared((X, Y), label=True)
    job = make_job(8, 4, decode=decoder)
    job.workspace.settle((X, Y), None, None)
    x, y = fields_of(decode_all(job, 2)[0])
    assert all(isinstance(out, tuple) for out in decoder.outs)
    assert (x[:2].tolist(), y[:2].tolist()) == ([[0, 0], [1, 1]], [7, 7])


def test_an_undeclared_decoder_is_not_handed_the_slot(make_job: MakeJob) -> None:
    decoder = Declared(None)
    x, *_ = fields_of(decode_all(make_job(8, 4, decode=decoder), 3)[0])
    assert decoder.outs == [None] * 3
    assert x[:3].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_the_random_numbers_depend_on_epoch_and_sample_alone(make_job: MakeJob) -> None:
    def decode(data: bytes, sample: SampleRef, rng: np.random.Generator) -> Any:
        return rng.random(2)

    def drawn(epoch: int, batch_size: int, *, shuffle: bool) -> dict[int, list[float]]:
        job = make_job(8, batch_size, decode=decode, shuffle=shuffle)
        state = StreamState(job, epoch, epoch)
        found = {}
        for ticket in range(8):
            item = item_of(job, state, ticket)
            decode_item(job, item, state.settle)
            found[item.sample.index] = fields_of(item)[0][item.slot].tolist()
        return found

    assert drawn(0, 4, shuffle=False) == drawn(0, 3, shuffle=True)
    assert drawn(0, 4, shuffle=False) != drawn(1, 4, shuffle=False)


def test_a_transform_gets_what_was_decoded_and_its_own_numbers(make_job: MakeJob) -> None:
    def transform(x: Any, rng: np.random.Generator) -> Any:
        return x * 2, rng.integers(0, 1000)

    x, y = fields_of(decode_all(make_job(8, 4, transform=transform), 2)[0])
    assert x[:2].tolist() == [[0] * 3, [2] * 3]
    assert y[0] != y[1]


def test_another_shape_names_both_samples(make_job: MakeJob) -> None:
    with pytest.raises(ShapeMismatchError, match="sample 2") as caught:
        decode_all(make_job(8, 4, decode=lambda data: np.zeros(3 if int(data) < 2 else 4)), 3)
    assert "0002" in str(caught.value)
    assert "the first sample (0000)" in str(caught.value)


class Weird(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize(
    "raised", [ValueError("bad bytes"), KeyboardInterrupt(), SystemExit(3), Weird("odd")], ids=repr
)
def test_whatever_the_decoder_raises_becomes_an_error_with_the_samples_name(
    make_job: MakeJob, raised: BaseException
) -> None:
    def decode(data: bytes) -> Any:
        raise raised

    with pytest.raises(DecodeError) as caught:
        decode_all(make_job(8, 4, decode=decode), 1)
    assert caught.value.__cause__ is raised
    assert (caught.value.sample_id, caught.value.key, caught.value.stage) == (0, "0000", "decode")
    assert type(raised).__name__ in caught.value.reason


def test_what_the_transform_raises_is_told_apart(make_job: MakeJob) -> None:
    def transform(x: Any, rng: np.random.Generator) -> Any:
        raise ZeroDivisionError("by nought")

    with pytest.raises(TransformError, match="the transform raised ZeroDivisionError: by nought") as caught:
        decode_all(make_job(8, 4, transform=transform), 1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (caught.value.sample_id, caught.value.stage) == (0, "transform")


def test_a_sample_error_of_the_decoder_keeps_its_class_and_cause_and_gets_the_name(make_job: MakeJob) -> None:
    cause = OSError("short")

    def decode(data: bytes) -> Any:
        raise DecodeError("no picture", "", "Look at it.") from cause

    with pytest.raises(DecodeError, match="no picture") as caught:
        decode_all(make_job(8, 4, decode=decode), 1)
    assert (caught.value.sample_id, caught.value.key, caught.value.hint) == (0, "0000", "Look at it.")
    assert caught.value.__cause__ is cause


def test_secrets_in_an_absolute_key_appear_in_no_error(make_job: MakeJob) -> None:
    key = "https://bucket.example/a.jpg?X-Amz-Signature=abc123secret"

    def decode(data: bytes, sample: SampleRef) -> Any:
        raise ValueError(f"cannot read {sample.key}")

    job = make_job(8, 4, decode=decode)
    state = StreamState(job, 0, 0)
    item = item_of(job, state, 0, sample=SampleRef(index=0, key=key))
    with pytest.raises(DecodeError) as caught:
        decode_item(job, item, state.settle)
    assert "abc123secret" not in str(caught.value)
    assert "abc123secret" not in repr(caught.value)
    assert "bucket.example/a.jpg" in str(caught.value)


def test_an_async_decoder_that_returned_nothing_is_told_so(make_job: MakeJob) -> None:
    async def decode(data: bytes) -> Any:
        return None

    job = make_job(8, 4, decode=decode)
    state = StreamState(job, 0, 0)
    item = item_of(job, state, 0, decoded=None)
    with pytest.raises(DecodeError, match="returned None"):
        decode_item(job, item, state.settle)


@pytest.mark.parametrize("where", ["decode", "transform"])
def test_a_tuple_of_four_is_refused_wherever_it_comes_from(make_job: MakeJob, where: str) -> None:
    four = (np.zeros(2), 1, 1.0, 2)
    options: dict[str, Any] = {"decode": lambda _: four} if where == "decode" else {"transform": lambda _, __: four}
    with pytest.raises(DecodeError, match="a tuple of 4"):
        decode_all(make_job(8, 4, **options), 1)
