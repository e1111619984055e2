"""Streams of one and of several loaders in the same worker processes: none disturbs another, and no process is lost."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import worker_pids

N = 64


def number(data: bytes) -> np.ndarray:
    return np.array([int(data), os.getpid()])


def numbered(n: int = N, base: int = 0) -> al.Dataset:
    store = al.MemoryStore({f"{i:04}": str(base + i).encode() for i in range(n)})
    return al.from_samples([f"{i:04}" for i in range(n)], store=store)


def loader_of(data: al.Dataset, **options: Any) -> al.Loader:
    defaults: dict[str, Any] = {"decode": number, "batch_size": 8, "use_multiprocessing": True, "workers": 2}
    return al.Loader(data, **defaults | options)


def test_two_loaders_interleaved_step_by_step_each_get_their_own_samples(warm_processes: set[int]) -> None:
    with loader_of(numbered(), shuffle=True, seed=0) as one, loader_of(numbered(base=5000), order="any") as other:
        for _ in range(3):
            seen: tuple[list[int], list[int]] = ([], [])
            for (first,), (second,) in zip(one, other, strict=True):
                seen[0].extend(first[:, 0].tolist())
                seen[1].extend(second[:, 0].tolist())
            assert sorted(seen[0]) == list(range(N))
            assert sorted(seen[1]) == list(range(5000, 5000 + N))
    assert worker_pids() == warm_processes


@pytest.mark.parametrize("order", ["strict", "window", "any"])
@pytest.mark.parametrize("queue", [1, 8])
def test_an_iterator_dropped_in_mid_epoch_never_writes_into_the_next_ones_batches(
    warm_processes: set[int], order: Any, queue: int
) -> None:
    def slow(data: bytes, sample: al.SampleRef) -> tuple[np.ndarray, int]:
        time.sleep(0.0005)  # a decode is under way whenever the stream ends
        return np.full(512, int(data)), sample.index

    kept: list[tuple[al.Batch, bytes]] = []
    with loader_of(
        numbered(), decode=slow, batch_size=4, shuffle=True, seed=1, order=order, max_queue_size=queue,
        stall_timeout_s=20,
    ) as loader:  # fmt: skip
        for turn in range(40):
            for taken, batch in enumerate(loader):
                assert batch.epoch == turn
                assert (batch[0] == batch.sample_ids[:, None]).all()
                assert (batch[1] == batch.sample_ids).all()
                if turn % 4 == 0 and taken == 0:
                    kept.append((batch, batch[0].tobytes()))
                if taken >= turn % 3:
                    break
        assert all(batch[0].tobytes() == held for batch, held in kept)
        batches = list(loader)
        assert sorted(i for batch in batches for i in batch.sample_ids.tolist()) == list(range(N))
    assert all(batch[0].tobytes() == held for batch, held in kept)
    assert worker_pids() == warm_processes, "breaking off must cost no process"


@pytest.mark.parametrize("queue", [2, 16])
def test_many_iterators_opened_at_once_still_leave_slabs_for_the_last(warm_processes: set[int], queue: int) -> None:
    with loader_of(numbered(), batch_size=2, max_queue_size=queue, stall_timeout_s=20) as loader:
        held = [next(iter(loader)) for _ in range(3)]
        for _ in range(20):
            held.append(next(loader.open_epoch(0)))
            held = held[-queue:]
        assert [int(row[0]) for (rows,) in loader.open_epoch(0) for row in rows] == list(range(N))
    assert worker_pids() == warm_processes


def test_a_second_iterator_replaces_the_first_in_processes_too(warm_processes: set[int]) -> None:
    with loader_of(numbered()) as loader:
        first = iter(loader)
        next(first)
        second = iter(loader)
        next(second)
        with pytest.raises(al.errors.StreamReplacedError):
            next(first)
        assert len(list(second)) == N // 8 - 1


def test_a_collected_iterator_frees_its_stream_and_keeps_the_processes(warm_processes: set[int]) -> None:
    with loader_of(numbered()) as loader:
        batches = iter(loader)
        next(batches)
        del batches
        gc.collect()
        assert len(list(loader)) == N // 8
    assert worker_pids() == warm_processes
