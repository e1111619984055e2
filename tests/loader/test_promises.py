"""Promises that nothing else would miss at once: the next epoch's head start, the only batch, what is let go when."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import aioloader as al
from aioloader import errors
from tests.loader.conftest import ASKED_ONCE, N_IMAGES, Bucket

if TYPE_CHECKING:
    from collections.abc import Callable

DECODE = al.ImageDecoder(size=(8, 8))
CONCURRENCY = 4
LOOK_AHEAD = 8 * CONCURRENCY  # samples fetched at most before their batch's turn


def until(condition: Callable[[], bool], *, what: str, within_s: float = 5.0) -> None:
    """Wait for ``condition``; collecting is part of what may make it true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        gc.collect()
        time.sleep(0.01)


def reach(bucket: Bucket, n_gets: int) -> None:
    """Wait until ``n_gets`` images were asked for."""
    until(lambda: bucket.image_gets() >= n_gets, what=f"fewer than {n_gets} requests")


def test_a_second_plain_loop_fetches_the_head_of_the_third_and_the_third_uses_it(bucket: Bucket) -> None:
    with al.Loader(
        al.image_folder(bucket.url), decode=DECODE, batch_size=4, concurrency=CONCURRENCY, retry=ASKED_ONCE
    ) as loader:
        assert sum(len(images) for images, _ in loader) == N_IMAGES
        assert bucket.image_gets() == N_IMAGES
        assert sum(len(images) for images, _ in loader) == N_IMAGES
        reach(bucket, 2 * N_IMAGES + LOOK_AHEAD)
        assert bucket.image_gets() == 2 * N_IMAGES + LOOK_AHEAD
        assert sum(len(images) for images, _ in loader) == N_IMAGES
        reach(bucket, 3 * N_IMAGES + LOOK_AHEAD)
        assert bucket.image_gets() == 3 * N_IMAGES + LOOK_AHEAD


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_a_second_plain_async_loop_fetches_the_head_of_the_third(bucket: Bucket) -> None:
    data = await asyncio.to_thread(al.image_folder, bucket.url)
    async with al.AsyncLoader(data, decode=DECODE, batch_size=4, concurrency=CONCURRENCY, retry=ASKED_ONCE) as loader:
        for n_gets in (N_IMAGES, 2 * N_IMAGES + LOOK_AHEAD):
            assert sum([len(batch[0]) async for batch in loader]) == N_IMAGES
            await asyncio.to_thread(reach, bucket, n_gets)
            assert bucket.image_gets() == n_gets


@dataclass(frozen=True)
class LastBatch:
    """``n`` samples in batches of 4, and the sizes of the first rank's batches."""

    name: str
    n: int
    sizes: list[int]
    shuffle: bool = True
    world_size: int = 1


@pytest.mark.parametrize(
    "case",
    [
        LastBatch("the only batch is short", 3, [3]),
        LastBatch("the only batch is not full on all of two ranks", 5, [4], world_size=2),
        LastBatch("the last of two is short", 7, [4]),
        LastBatch("none is short", 8, [4, 4]),
        LastBatch("the last is short, on two ranks", 11, [4], world_size=2),
        LastBatch("the last is short, unshuffled", 7, [4, 3], shuffle=False),
    ],
    ids=lambda case: case.name,
)
def test_drop_last_auto_leaves_a_short_batch_out_when_shuffling_unless_it_is_the_only_one(case: LastBatch) -> None:
    store = al.MemoryStore({f"{i}.bin": b"x" for i in range(case.n)})
    data = al.from_samples([f"{i}.bin" for i in range(case.n)], store=store)
    with al.Loader(
        data, decode=al.RawDecoder(), batch_size=4, shuffle=case.shuffle, seed=0, world_size=case.world_size
    ) as loader:
        assert len(loader) == len(case.sizes)
        assert [len(batch.sample_ids) for batch in loader] == case.sizes


class BadThenSilent(al.MemoryStore):
    """Its first objects are missing, of the others none is ever answered."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
        self.asked += 1
        if key.startswith("missing"):
            return await super().get(key, byte_range)
        await asyncio.Event().wait()
        raise AssertionError


def first_batch_missing(store: al.MemoryStore) -> al.Dataset:
    """100 samples; all four of the first batch are missing."""
    return al.from_samples([f"missing{i}" for i in range(4)] + [f"silent{i}" for i in range(96)], store=store)


def test_a_batch_that_cannot_be_delivered_ends_the_requests() -> None:
    store = BadThenSilent()
    with al.Loader(
        first_batch_missing(store), decode=al.RawDecoder(), batch_size=4, concurrency=CONCURRENCY, on_error="skip"
    ) as loader:
        batches = iter(loader)
        with pytest.raises(errors.SkipBudgetExceededError, match="every sample of the batch failed"):
            next(batches)
        until(lambda: loader.stats().in_flight == 0, what="requests outlive the failed batch")
        assert store.asked <= 4 + CONCURRENCY
        assert next(batches, None) is None


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_a_batch_that_cannot_be_delivered_ends_the_requests_of_an_async_loop() -> None:
    store = BadThenSilent()
    async with al.AsyncLoader(
        first_batch_missing(store), decode=al.RawDecoder(), batch_size=4, concurrency=CONCURRENCY, on_error="skip"
    ) as loader:
        batches = aiter(loader)
        with pytest.raises(errors.SkipBudgetExceededError, match="every sample of the batch failed"):
            await anext(batches)
        await asyncio.to_thread(until, lambda: loader.stats().in_flight == 0, what="requests outlive the failed batch")
        assert store.asked <= 4 + CONCURRENCY
        assert await anext(batches, None) is None


class CountsCloses(al.MemoryStore):
    """Eight objects; ``closes`` says how often its connections were let go."""

    def __init__(self) -> None:
        super().__init__({f"{i}.bin": b"x" for i in range(8)})
        self.closes = 0

    async def aclose(self) -> None:
        self.closes += 1

    def loader(self) -> al.Loader:
        """Of all its objects, in two batches."""
        return al.Loader(
            al.from_samples([f"{i}.bin" for i in range(8)], store=self), decode=al.RawDecoder(), batch_size=4
        )


def test_a_store_is_let_go_with_its_last_loader_though_loaders_of_other_stores_are_open() -> None:
    # The loop, which ends with the last loader of all, would close every store: the neighbour keeps it running.
    store, other = CountsCloses(), CountsCloses()
    with other.loader() as neighbour:
        assert len(list(neighbour)) == 2
        with store.loader() as last:
            assert len(list(last)) == 2
            with store.loader() as first:
                assert len(list(first)) == 2
            assert store.closes == 0
        assert (store.closes, other.closes) == (1, 0)
    assert (store.closes, other.closes) == (1, 1)


def test_a_store_is_let_go_when_its_loader_is_collected() -> None:
    store, other = CountsCloses(), CountsCloses()
    with other.loader() as neighbour:
        assert len(list(neighbour)) == 2
        assert len(list(store.loader())) == 2  # nothing refers to the loader from here on
        until(lambda: store.closes == 1, what="the store of a collected loader is not let go")
        assert other.closes == 0
