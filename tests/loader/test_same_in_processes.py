"""What "auto" hands over to worker processes decodes there as it did here, or stays here."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from tests.loader import same_decoders
from tests.loader.deaths_decoders import body, plus_one
from tests.loader.hand_over_rig import noisy
from tests.loader.same_rig import (
    BATCH_SIZE,
    N,
    digest,
    in_threads,
    is_in_processes,
    make_loader,
    read_until_answered,
    refusals,
    slowly,
    wish_for_processes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


MANY = {
    "tokens": al.FieldSpec((al.UpTo(6),), np.dtype(np.int32), fill=-1),
    "text": al.FieldSpec.text(60),
    "id": al.FieldSpec((), np.dtype(np.int64)),
    "bytes": al.FieldSpec((48,), np.dtype(np.uint8)),
}


@pytest.fixture(autouse=True)
def changed_at_run_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker process, which imports the module afresh, does not know."""
    monkeypatch.setattr(same_decoders, "scale", 7)
    monkeypatch.setattr(same_decoders, "_table", {})


@pytest.mark.parametrize(
    ("decode", "options", "field"),
    [
        pytest.param(same_decoders.scaled, {}, "x", id="array"),
        pytest.param(same_decoders.scaled_label, {}, "y", id="label"),
        pytest.param(same_decoders.scaled_text, {"spec": MANY}, "x.text", id="text"),
        pytest.param(same_decoders.scaled_on_loop, {}, "x", id="async"),
        pytest.param(same_decoders.IntoSlot(), {}, "x", id="into-the-slot"),
    ],
)
def test_a_decoder_that_depends_on_what_was_set_at_run_time_stays_in_threads(
    decode: Any, options: dict[str, Any], field: str
) -> None:
    with make_loader(decode, **options) as loader:
        seen = read_until_answered(loader)
        assert not is_in_processes(loader)
        assert len(refusals(loader)) == 1
        assert "your decoder gives other arrays in a worker process for sample" in refusals(loader)[0]
        assert f"(field {field})" in refusals(loader)[0]
        assert "set use_multiprocessing=True yourself" in loader.report()
    assert seen == in_threads(decode, len(seen) * BATCH_SIZE // N, **options)


def scaled_afterwards(decoded: Any, rng: np.random.Generator) -> Any:
    return decoded * np.uint8(same_decoders.scale)


def test_a_transform_that_depends_on_what_was_set_at_run_time_stays_in_threads() -> None:
    with make_loader(same_decoders.drawn, transform=scaled_afterwards) as loader:
        read_until_answered(loader)
        assert "gives other arrays in a worker process" in refusals(loader)[0]


def test_a_decoder_that_was_not_set_up_in_the_worker_process_fails_no_epoch() -> None:
    same_decoders.set_up()
    with make_loader(same_decoders.from_table) as loader:
        seen = read_until_answered(loader)
        assert not is_in_processes(loader)
        assert "your decoder fails in a worker process" in refusals(loader)[0]
        assert "RuntimeError: not set up" in refusals(loader)[0]
    assert seen == in_threads(same_decoders.from_table, len(seen) * BATCH_SIZE // N)


@pytest.mark.parametrize(
    ("decode", "options"),
    [
        pytest.param(plus_one, {}, id="function"),
        pytest.param(same_decoders.drawn, {"transform": noisy}, id="rng"),
        pytest.param(same_decoders.in_many_fields, {"spec": MANY}, id="fields"),
        pytest.param(same_decoders.on_loop, {"transform": noisy}, id="async"),
        pytest.param(lambda data: np.frombuffer(data, np.uint8), {}, id="lambda"),
        pytest.param(same_decoders.Table(), {}, id="large-table"),
        pytest.param(al.RawDecoder(shape=(48,)), {}, id="inline"),
    ],
)
@pytest.mark.parametrize("order", ["strict", "any"])
def test_a_pure_decoder_goes_over_and_every_batch_is_the_same(decode: Any, options: dict[str, Any], order: Any) -> None:
    with make_loader(decode, order=order, **options) as loader:
        seen = read_until_answered(loader)
        assert refusals(loader) == []
        assert is_in_processes(loader)
        seen += [digest(batch) for batch in loader]
        assert loader.stats().engine.processes == 2
    if order == "strict":
        assert seen == in_threads(decode, len(seen) * BATCH_SIZE // N, **options)


def test_a_decoder_that_gives_other_arrays_each_time_stays_in_threads() -> None:
    with make_loader(same_decoders.counted) as loader:
        read_until_answered(loader)
        assert not is_in_processes(loader)
        assert "gives other arrays each time, which cannot be compared" in refusals(loader)[0]


def test_who_sets_processes_himself_is_not_asked() -> None:
    with make_loader(same_decoders.scaled, use_multiprocessing=True, workers=2) as loader:
        first = next(iter(loader))
        assert bytes(first[0][0]) != bytes(first[0][0] * np.uint8(7))
        assert refusals(loader) == []


def test_a_decoder_that_is_changed_between_epochs_goes_back_to_threads() -> None:
    decoder = same_decoders.Level()
    with make_loader(decoder) as loader:
        threads = loader.settings.workers
        read_until_answered(loader)
        assert is_in_processes(loader)
        epoch = loader.next_epoch
        for _ in range(2):  # it may run on into the next
            assert list(levels(loader)) == [1] * N
        assert is_in_processes(loader)
        decoder.level = 5
        assert list(levels(loader)) == [5] * N
        assert not is_in_processes(loader)
        assert (loader.settings.use_multiprocessing, loader.settings.workers) == (False, threads)
        assert [reason.split(":")[0] for reason in refusals(loader)] == [
            "your decoder has changed since worker processes got it"
        ]
        assert list(levels(loader)) == [5] * N
        assert loader.next_epoch == epoch + 4
        assert loader.stats().samples == loader.next_epoch * N


def test_a_decoder_that_is_changed_in_the_middle_of_going_over_goes_back_to_threads() -> None:
    decoder = same_decoders.Level()
    with make_loader(decoder) as loader:
        wish_for_processes(loader)
        while not is_in_processes(loader):
            for _ in slowly(loader):
                if is_in_processes(loader):
                    break
        decoder.level = 5
        for _ in range(2):
            assert list(levels(loader)) == [5] * N
        assert not is_in_processes(loader)


def test_an_async_loader_goes_back_to_threads_as_well() -> None:
    decoder = same_decoders.Level()
    made = make_loader(decoder, al.AsyncLoader)

    async def run() -> list[int]:
        first: list[int] = []
        async with made as loader:
            wish_for_processes(loader)
            while not is_in_processes(loader):
                async for _ in loader:
                    await asyncio.sleep(0.005)
            decoder.level = 5
            async for batch in loader:
                first += (batch[0][:, 0] - body_column(batch)).tolist()
            assert not is_in_processes(loader)
        return first

    assert asyncio.run(run()) == [6] * N


def body_column(batch: al.Batch) -> Any:
    return np.array([body(index)[0] for index in batch.sample_ids.tolist()], np.uint8)


def levels(loader: al.Loader) -> Iterator[int]:
    for batch in loader:
        for row, index in zip(batch[0], batch.sample_ids.tolist(), strict=True):
            yield (int(row[0]) - 1 - body(index)[0]) % 256


def test_what_is_handed_over_at_a_later_trial_is_packed_anew() -> None:
    decoder = same_decoders.Level()
    with make_loader(decoder) as loader:
        read_until_answered(loader)
        assert is_in_processes(loader)
        loader._tuner.settings = replace(loader.settings, use_multiprocessing=False, workers=1)
        while is_in_processes(loader) or loader._session.hand_over.is_under_way:
            list(slowly(loader))
        decoder.level = 9
        read_until_answered(loader)
        assert is_in_processes(loader)
        assert list(levels(loader)) == [9] * N
