"""Decoders, finished batches and requests may be made more or fewer while an epoch runs, and their bounds hold."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.conftest import ASKED_ONCE
from tests.loader.deaths_decoders import plus_one
from tests.loader.hand_over_rig import (
    Switching,
    check_whole,
    copied,
    digest,
    in_memory,
    make_loader,
    read_switching,
    write_samples,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("warm_processes")

BOTH = pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Counting:
    """A decoder that knows how many of it run."""

    def __init__(self) -> None:
        self.peak = 0
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, data: bytes) -> Any:
        with self._lock:
            self._running += 1
            self.peak = max(self.peak, self._running)
        time.sleep(0.003)
        with self._lock:
            self._running -= 1
        return plus_one(data)


def test_so_many_threads_decode_as_were_set_last() -> None:
    decode = Counting()
    peaks: list[tuple[int, int]] = []
    with make_loader(in_memory(), decode=decode, workers=1, max_queue_size=4) as loader:
        switching, batches = Switching(loader), loader.epochs(5)
        found = [copied(next(batches))]
        for workers in (1, 3, 1, 2, 1, 3):
            switching.on_loop(loader._session.set_workers, workers)
            found += [copied(next(batches)) for _ in range(6)]  # those of before are done
            decode.peak = 0
            found += [copied(next(batches)) for _ in range(10)]
            peaks.append((workers, decode.peak))
        found += [copied(batch) for batch in batches]
    assert all(workers == peak for workers, peak in peaks), peaks
    check_whole(found)


@BOTH
def test_so_many_batches_wait_as_were_set_last(*, in_processes: bool) -> None:
    with make_loader(in_memory(), max_queue_size=2, concurrency=16, use_multiprocessing=in_processes) as loader:
        switching, batches = Switching(loader), loader.epochs(5)
        queue = loader._job.counters.queue
        found, bounds = [copied(next(batches))], {}
        ring = loader._job.workspace.ring
        assert ring is not None
        for size in (2, 7, 3, 12, 1, 5):
            switching.on_loop(loader._session.set_queue, size)
            until(lambda size=size: loader._job.options.max_queue_size == size)  # type: ignore[misc]
            while queue._length > size:
                found.append(copied(next(batches)))
            until(lambda size=size: queue._length == size)  # type: ignore[misc]
            time.sleep(0.05)
            assert queue._length == size
            bounds[size] = loader.memory_bound()
            assert ring.allocated * ring.layout.nbytes <= ring.bound_bytes
        assert bounds[7] - bounds[2] == 2 * 5 * ring.layout.nbytes
        found += [copied(batch) for batch in batches]
    check_whole(found)


@BOTH
@pytest.mark.parametrize("seed", range(2))
def test_all_numbers_may_change_at_any_time(seed: int, *, in_processes: bool) -> None:
    random = Random(seed)
    with make_loader(in_memory(), use_multiprocessing=in_processes) as loader:
        switching, found = Switching(loader), []
        session = loader._session
        for batch in loader.epochs(6):
            found.append(copied(batch))
            turn = random.choice([session.set_workers, session.set_queue, session.set_concurrency])
            switching.on_loop(turn, random.randint(1, 3 if turn == session.set_workers else 20))
            if random.random() < 0.1:
                switching.ask(not loader._job.options.use_multiprocessing, random.randint(1, 3))
    with make_loader(in_memory()) as loader:
        assert [digest(batch) for batch in found] == [digest(batch) for batch in loader.epochs(6)]


def test_numbers_that_were_set_are_those_of_the_next_epoch_too() -> None:
    decode = Counting()
    with make_loader(in_memory(), decode=decode, workers=1) as loader:
        switching = Switching(loader)
        list(loader)
        assert decode.peak == 1
        switching.on_loop(loader._session.set_workers, 3)
        switching.on_loop(loader._session.set_queue, 9)
        until(lambda: loader._job.options.max_queue_size == 9)
        list(loader.open_epoch(7))
        assert decode.peak == 3
        assert loader._job.workspace.open_steps == 9


@pytest.mark.parametrize("seed", range(2))
def test_going_over_never_makes_more_requests_at_a_time_than_allowed(tmp_path: Path, seed: int) -> None:
    pairs = write_samples(tmp_path)
    with serve_in_thread(tmp_path, manners=Manners(latency_s=0.02)) as server:
        data = al.from_samples(pairs, root=server.url)
        with make_loader(data, concurrency=6, retry=ASKED_ONCE, use_multiprocessing=bool(seed)) as loader:
            batches, switching = read_switching(loader, seed, 5)
        assert len(switching.switched) >= 5
        assert server.statistics().peak_in_flight == 6
        assert loader.stats().in_flight_peak == 6
        assert loader.stats().in_flight == 0
    check_whole(batches)


def test_a_loader_that_goes_over_takes_no_more_memory_than_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for index in range(150):
        (folder / f"{index:03}.bin").write_bytes(bytes([index]) * 1_000_000)
    for index in range(16):
        (folder / f"{index:03}.small").write_bytes(bytes(100))
    script = Path(__file__).with_name("memory_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "switching", "60MB"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["switches"] >= 4
    assert figures["bound"] <= 60_000_000
    assert figures["peak"] < figures["bound"] + 12_000_000  # see test_memory_bound.py
    assert figures["peak"] > 15_000_000, "it did not run ahead: nothing was measured"
