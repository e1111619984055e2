"""A sample that kills whoever decodes it is named and may be skipped; processes that die in vain are an error."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader import errors
from tests.loader.conftest import worker_pids
from tests.loader.deaths_decoders import AsyncDoing, DiesWhenUnpickled, Doing
from tests.loader.deaths_kills import BATCH_SIZE, kill, make_loader, samples_in_memory

if TYPE_CHECKING:
    from pathlib import Path

N = 96
SKIP: dict[str, Any] = {"on_error": "skip", "max_error_rate": 0.5, "shuffle": False}

HOW = {
    "abort": "signal 6, SIGABRT",
    "segfault": "signal 11, SIGSEGV",
    "exit": "exit code 3",
    "kill": "signal 9, SIGKILL",
}


def check_skipped(loader: al.Loader, batches: list[al.Batch], poison: tuple[int, ...]) -> None:
    """The epoch is whole but for ``poison``, for which others of their batch stand in, and the ledger names them."""
    valid = np.concatenate([batch.valid for batch in batches])
    ids = np.concatenate([batch.sample_ids for batch in batches])
    assert sorted(ids.tolist()) == list(range(N))
    assert sorted(ids[~valid].tolist()) == sorted(poison)
    for batch in batches:
        named = np.ascontiguousarray(batch[0][:, :8] - np.uint8(1)).view("<i8")[:, 0]
        assert np.array_equal(named[batch.valid], batch.sample_ids[batch.valid])
        assert set(named[~batch.valid].tolist()) <= set(batch.sample_ids[batch.valid].tolist())
    assert sorted((entry.sample_id, entry.key, entry.stage) for entry in loader.skipped) == [
        (index, f"{index:04d}.bin", "decode") for index in sorted(poison)
    ]
    assert all("the worker process that decoded it died" in entry.error for entry in loader.skipped)


@pytest.mark.parametrize("way", HOW)
def test_poison_is_named_with_how_its_process_died(way: str) -> None:
    with make_loader(samples_in_memory(N), decode=Doing(way, (41,)), shuffle=False) as loader:
        batches = iter(loader)
        assert [next(batches).step for _ in range(5)] == list(range(5))
        with pytest.raises(errors.WorkerDiedError, match=rf"sample 41 \(.*0041\.bin\): .*{HOW[way]}") as caught:
            next(batches)
        assert (caught.value.sample_id, caught.value.stage) == (41, "decode")
        assert next(batches, None) is None


@pytest.mark.parametrize("order", ["strict", "any"])
@pytest.mark.parametrize(
    ("way", "poison"),
    [
        ("exit", (41,)),
        ("segfault", (40, 43)),
        ("exit", (0,)),
        ("kill", (0, 1)),
        ("kill", (92, 93, 94, 95)),
        ("abort", (0, 95)),
    ],
    ids=["one", "two of a batch", "the first", "the first two killed", "the last four killed", "both ends"],
)
def test_poison_is_skipped_with_a_stand_in_and_a_line_in_the_ledger(
    way: str, poison: tuple[int, ...], order: str
) -> None:
    with make_loader(samples_in_memory(N), decode=Doing(way, poison), order=order, workers=3, **SKIP) as loader:
        check_skipped(loader, list(loader), poison)


@pytest.mark.parametrize("order", ["strict", "any"])
def test_of_many_coroutines_in_a_process_only_the_poison_is_named(order: str) -> None:
    decode = AsyncDoing("exit", (21,))
    with make_loader(samples_in_memory(N), decode=decode, order=order, workers=2, **SKIP) as loader:
        check_skipped(loader, list(loader), (21,))
    with (
        make_loader(samples_in_memory(N), decode=decode, order=order, workers=2) as loader,
        pytest.raises(errors.WorkerDiedError, match=r"sample 21 .*exit code 3"),
    ):
        list(loader)


def test_a_batch_of_nothing_but_poison_ends_the_epoch_with_a_sentence() -> None:
    poison = tuple(range(BATCH_SIZE, 2 * BATCH_SIZE))
    with make_loader(samples_in_memory(N), decode=Doing("exit", poison), **SKIP) as loader:
        batches = iter(loader)
        assert next(batches).valid.all()
        with pytest.raises(errors.SkipBudgetExceededError, match="every sample of the batch failed"):
            next(batches)


def test_poison_of_one_loader_harms_no_other_loader_of_the_pool() -> None:
    with (
        make_loader(samples_in_memory(N), decode=Doing("segfault", (5, 50)), **SKIP) as sick,
        make_loader(samples_in_memory(N), shuffle=False) as healthy,
    ):
        pairs = list(zip(sick, healthy, strict=True))
        check_skipped(sick, [batch for batch, _ in pairs], (5, 50))
        assert np.concatenate([batch.sample_ids for _, batch in pairs]).tolist() == list(range(N))


@pytest.mark.parametrize("workers", [1, 4])
def test_a_recipe_that_kills_whoever_unpickles_it_ends_in_an_error_within_seconds(workers: int) -> None:
    started = time.monotonic()
    with make_loader(samples_in_memory(N), decode=DiesWhenUnpickled(), workers=workers) as loader:
        with pytest.raises(errors.WorkersFailedError, match=r"died one after another .* exit code 3"):
            next(iter(loader))
        assert time.monotonic() - started < 30  # promised: seconds; each death costs the start of an interpreter


def test_processes_that_cannot_live_are_not_started_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    with make_loader(samples_in_memory(N), workers=2) as loader:
        # A loader starts its processes when it is made: those are well.
        check_skipped(loader, list(loader), ())
        monkeypatch.setattr(sys, "executable", str(broken))
        for pid in worker_pids():
            kill(pid)
        with pytest.raises(errors.WorkersFailedError, match="exit code 7"):
            next(iter(loader))
        deaths = loader.stats().engine.deaths
        time.sleep(0.5)  # dozens of such interpreters would start and end meanwhile
        assert loader.stats().engine.deaths <= deaths + 2
        monkeypatch.undo()
        check_skipped(loader, list(loader), ())  # repaired, the next epoch is whole


def test_deaths_before_the_first_sample_do_not_count_against_a_later_epoch() -> None:
    with make_loader(samples_in_memory(N), workers=2) as loader:
        for epoch in range(3):
            batches = loader.open_epoch(epoch)
            killed: set[int] = set()
            while len(killed) < 3:
                killed |= {pid for pid in sorted(worker_pids() - killed)[:1] if kill(pid)}
            assert sum(len(batch.sample_ids) for batch in batches) == N
