"""Worker processes may be killed at any time, and every epoch still completes exactly."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.serve.thread import serve_in_thread
from tests.loader.conftest import worker_pids
from tests.loader.deaths_decoders import Waiting
from tests.loader.deaths_kills import (
    Killer,
    check_whole,
    counted_deaths,
    kill,
    make_loader,
    read_under_fire,
    samples_in_memory,
    write_samples,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORDERS = ("strict", "window", "any")


def until(condition: Callable[[], bool], *, what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def _has_files(folder: Path, count: int) -> bool:
    return len(list(folder.iterdir())) == count


@pytest.mark.parametrize(
    ("order", "seed", "is_local"), [("strict", 11, False), ("window", 12, True), ("any", 13, False)]
)
def test_ten_kills_at_random_times_lose_and_repeat_nothing(
    tmp_path: Path, order: str, seed: int, *, is_local: bool
) -> None:
    pairs = write_samples(tmp_path)
    killer = Killer(seed, 10)
    with serve_in_thread(tmp_path) as server, counted_deaths() as counted:
        data = al.from_samples(pairs, root=str(tmp_path) if is_local else server.url)
        read_under_fire(data, killer, order=order)
    assert killer.done == 10
    assert counted.not_killed == [], "a process died by itself"
    assert len(counted.pids) >= 5  # others may have died between two epochs, when no stream is there to hear of it


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("workers", [1, 3])
def test_all_killed_at_one_moment_in_mid_epoch(order: str, workers: int) -> None:
    with make_loader(samples_in_memory(), order=order, workers=workers) as loader:
        batches = []
        for batch in loader:
            batches.append(batch)
            if len(batches) in (2, 11):
                for pid in worker_pids():
                    kill(pid)
        check_whole(batches)


def test_more_killed_at_one_moment_than_may_die_in_a_row() -> None:
    with make_loader(samples_in_memory(), workers=8) as loader:
        batches = []
        for batch in loader:
            batches.append(batch)
            if len(batches) == 2:
                until(lambda: len(worker_pids()) == 8, what="eight processes never ran")
                for pid in worker_pids():
                    kill(pid)
        check_whole(batches)


@pytest.mark.parametrize("workers", [1, 3])
def test_newborn_processes_are_killed_before_they_are_up(workers: int) -> None:
    with make_loader(samples_in_memory(), workers=workers) as loader:
        batches = iter(loader)
        killed: set[int] = set()
        while len(killed) < 4:
            killed |= {pid for pid in sorted(worker_pids() - killed)[:1] if kill(pid)}
        check_whole(list(batches))


@pytest.mark.parametrize("order", ORDERS)
def test_the_process_that_decodes_the_first_sample_is_killed_twice(tmp_path: Path, order: str) -> None:
    first = int(next(iter(make_loader(samples_in_memory(), use_multiprocessing=False))).sample_ids[0])
    with make_loader(samples_in_memory(), decode=Waiting(str(tmp_path), first), order=order) as loader:
        batches = iter(loader)
        for deaths in (1, 2):
            until(partial(_has_files, tmp_path, deaths), what="nobody decodes the first sample")
            pid = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns).stem
            assert kill(int(pid))
        (tmp_path / "go").touch()
        check_whole(list(batches))


def test_killed_between_epochs_the_next_one_is_whole() -> None:
    with make_loader(samples_in_memory()) as loader:
        for number in range(3):
            check_whole(list(loader.open_epoch(number)))
            for pid in worker_pids():
                kill(pid)


def test_batches_that_the_consumer_holds_stay_as_they_were_when_workers_die() -> None:
    with make_loader(samples_in_memory(), max_queue_size=2) as loader:
        held, before = [], []
        for batch in loader:
            held.append(batch)
            before.append(batch[0].copy())
            if len(held) in (4, 12):
                for pid in worker_pids():
                    kill(pid)
        check_whole(held)
        assert all((batch[0] == copy).all() for batch, copy in zip(held, before, strict=True))


def test_a_process_that_is_terminated_is_replaced() -> None:
    with make_loader(samples_in_memory()) as loader:
        batches, old = [], worker_pids()
        for batch in loader:
            batches.append(batch)
            if len(batches) == 3:
                old = worker_pids()
                kill(min(old), signal.SIGTERM)
        check_whole(batches)
        until(lambda: len(worker_pids()) == 3, what="it was not replaced")
        assert min(old) not in worker_pids()


def test_a_suspect_gets_its_process_though_another_loader_keeps_all_busy(tmp_path: Path) -> None:
    stop = threading.Event()
    result: list[Any] = []

    def read_on(other: al.Loader) -> None:
        for batch in other.epochs(100_000):  # without a pause between epochs
            assert (batch[1] == batch.sample_ids).all()
            if stop.is_set():
                break
        result.append(batch.epoch)

    # Room for the whole epoch: of a shorter queue the process that is up first may fill every slot.
    options = {"shuffle": False, "order": "any", "workers": 2, "max_queue_size": 25}
    with (
        make_loader(samples_in_memory(), **options) as other,
        make_loader(samples_in_memory(), decode=Waiting(str(tmp_path), 20), stall_timeout_s=20, **options) as loader,
    ):
        reader = threading.Thread(target=read_on, args=(other,))
        reader.start()
        try:
            batches = iter(loader)
            until(lambda: bool(list(tmp_path.glob("*.pid"))), what="nobody decodes the sample")
            (tmp_path / "go").touch()
            assert kill(int(next(tmp_path.glob("*.pid")).stem))
            check_whole(list(batches))
        finally:
            stop.set()
            reader.join()
    assert result
