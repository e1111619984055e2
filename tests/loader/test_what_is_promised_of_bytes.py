"""Lengths, skip lists, weights, memory: what the dataset says is what the batch holds, or an error says otherwise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader import errors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loader.conftest import Bucket


def one(data: bytes) -> np.ndarray:
    return np.zeros(1, np.uint8)


def first_batch(data: al.Dataset, **options: Any) -> al.Batch:
    with al.Loader(data, **{"decode": one, **options}) as loader:
        return next(iter(loader))


def test_an_object_of_another_size_than_listed_is_an_error() -> None:
    store = al.MemoryStore({"a.bin": bytes(500)})
    sample = al.SampleRef(index=0, key="a.bin", size_bytes=1000)
    with pytest.raises(errors.ObjectChangedError, match=r"sample 0 .*500 bytes, the listing said 1000"):
        first_batch(al.from_samples([sample], store=store))


def test_a_range_beyond_the_objects_end_is_an_error() -> None:
    store = al.MemoryStore({"a.bin": bytes(500)})
    sample = al.SampleRef(index=0, key="a.bin", byte_range=(0, 1000))
    with pytest.raises(errors.TruncatedBodyError, match=r"sample 0 .*after 500 of the range's 1000 bytes"):
        first_batch(al.from_samples([sample], store=store))


def test_a_ledger_leaves_out_the_range_that_failed_and_no_other_of_its_object(tmp_path: Path) -> None:
    shard = b"".join(f"{index:04}".encode() for index in range(20))
    store = al.MemoryStore({"shard.bin": shard})
    samples = [al.SampleRef(index=0, key="shard.bin", byte_range=(4 * i, 4 * i + 4)) for i in range(20)]

    def decode(data: bytes) -> np.ndarray:
        if data == b"0007":
            raise ValueError("broken row")
        return np.array([int(data)])

    data = al.from_samples(samples, store=store)
    options: dict[str, Any] = {"decode": decode, "batch_size": 4, "on_error": "skip", "max_error_rate": 1}
    with al.Loader(data, ledger=tmp_path / "bad.jsonl", **options) as loader:
        list(loader)
    with al.Loader(data, skip_list=tmp_path / "bad.jsonl", **options) as clean:
        rows = [row for batch in clean for row in batch[0].reshape(-1).tolist()]
    assert rows == [row for row in range(20) if row != 7]


def test_the_rate_is_enforced_in_an_epoch_of_few_samples() -> None:
    store = al.MemoryStore({f"{i}.bin": bytes([i]) for i in range(10)})

    def decode(data: bytes) -> np.ndarray:
        if data[0] % 5 == 0:
            raise ValueError
        return np.array(data[0])

    data = al.from_samples([f"{i}.bin" for i in range(10)], store=store)
    with al.Loader(data, decode=decode, batch_size=5, on_error="skip", max_error_rate=0.1) as loader:
        batches = iter(loader)
        assert [next(batches).step, next(batches).step] == [0, 1]
        with pytest.raises(errors.SkipBudgetExceededError, match="2 of 10 samples"):
            next(batches)


def test_a_store_that_cannot_work_at_all_is_not_skipped() -> None:
    class Misconfigured(al.MemoryStore):
        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            raise errors.OptionError("profile", "'nobody'", "a profile of the credentials file")

    data = al.from_samples(["a.bin", "b.bin"], store=Misconfigured())
    with pytest.raises(errors.OptionError, match="profile='nobody'"):
        first_batch(data, on_error="skip", max_error_rate=1)


def test_bodies_of_unknown_size_stay_within_max_memory() -> None:
    class Large(al.MemoryStore):
        held = peak = 0

        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            self.held += 1
            self.peak = max(self.peak, self.held)
            await asyncio.sleep(0.005)
            return bytes(1_000_000)

    store = Large()

    def decode(data: bytes) -> np.ndarray:
        store.held -= 1
        return np.zeros(1)

    data = al.from_samples([f"{i}.bin" for i in range(100)], store=store)
    with al.Loader(data, decode=decode, batch_size=4, concurrency=64, max_memory="40MB") as loader:
        assert sum(len(batch[0]) for batch in loader) == 100
    assert store.peak <= 12  # 10 MB of bodies are 10; one or two are counted while they are handed on


def test_pads_of_the_decoders_own_labels_weigh_nothing() -> None:
    store = al.MemoryStore({f"{i}.bin": bytes([i]) for i in range(5)})
    data = al.from_samples([f"{i}.bin" for i in range(5)], store=store)

    def decode(data: bytes) -> tuple[np.ndarray, int]:
        return np.array(data[0]), data[0]

    options: dict[str, Any] = {"decode": decode, "batch_size": 2, "drop_last": False, "world_size": 2, "seed": 0}
    with al.Loader(data, rank=1, **options) as loader:
        *_, last = loader
    assert len(last) == 3
    assert last[2].tolist() == [0.0]


def test_classes_may_be_weighed_by_name_and_a_wrong_one_is_named(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    decode = al.ImageDecoder(size=(8, 8))
    batch = first_batch(data, decode=decode, batch_size=51, class_weight={"bees": 3})
    assert set(batch[2][batch[1] == 1].tolist()) == {3.0}
    wrongs: list[dict[Any, Any]] = [{"cat": 5}, {7: 3}, {0: float("nan")}, {0: "x"}, {0: -1}]
    for wrong in wrongs:
        with pytest.raises(errors.OptionError, match="class_weight="):
            al.Loader(data, decode=decode, class_weight=wrong)


def test_a_stalled_coroutine_decoder_is_named_in_the_stall() -> None:
    async def never(data: bytes) -> np.ndarray:
        await asyncio.Event().wait()
        raise AssertionError

    data = al.from_samples(["a.bin"], store=al.MemoryStore({"a.bin": b"x"}))
    with pytest.raises(errors.StalledError, match=r"a\.bin \(decode"):
        first_batch(data, decode=never, stall_timeout_s=0.2)


def test_a_fixed_queue_is_obeyed_or_refused() -> None:
    store = al.MemoryStore({f"{i}.bin": b"x" for i in range(64)})
    data = al.from_samples([f"{i}.bin" for i in range(64)], store=store)

    def decode(data: bytes) -> np.ndarray:
        return np.zeros(1_000_000, np.uint8)

    with pytest.raises(errors.OptionError, match=r"max_memory=.*max_queue_size"):
        first_batch(data, decode=decode, batch_size=2, max_queue_size=16, max_memory="20MB")
    assert len(first_batch(data, decode=decode, batch_size=2, max_memory="20MB")[0]) == 2


@pytest.mark.parametrize(("batch_size", "queue"), [(16, 1), (8, 1), (32, 2)])
def test_large_bodies_of_unknown_size_and_a_small_queue_do_not_lock_each_other(batch_size: int, queue: int) -> None:
    class Large(al.MemoryStore):
        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            await asyncio.sleep(0.001)
            return bytes(60_000)

    data = al.from_samples([f"{i}.bin" for i in range(200)], store=Large())
    options: dict[str, Any] = {"batch_size": batch_size, "max_queue_size": queue, "concurrency": 64}
    with al.Loader(data, decode=one, max_memory="400kB", stall_timeout_s=10, **options) as loader:
        assert sum(len(batch[0]) for batch in loader) == 200


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_ragged_list_of_a_coroutine_decoder_is_that_samples_fault_alone(on_error: Any) -> None:
    async def decode(data: bytes) -> Any:
        await asyncio.sleep(0.001)
        return [[1, 2], [3]] if data == b"40" else [[1, 2], [3, 4]]

    store = al.MemoryStore({f"{i:02}.bin": str(i).encode() for i in range(64)})
    data = al.from_samples([f"{i:02}.bin" for i in range(64)], store=store)
    with al.Loader(data, decode=decode, batch_size=8, on_error=on_error, max_error_rate=0.1) as loader:
        if on_error == "raise":
            with pytest.raises(errors.DecodeError, match=r"sample 40 "):
                list(loader)
        else:
            assert [int(i) for batch in loader for i in batch.sample_ids[~batch.valid]] == [40]
