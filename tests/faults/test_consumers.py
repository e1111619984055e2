"""Rows 30 to 35: what the user's side does to fetching: leaving, forking, blocking, other loops, little memory."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

import aioloader as al
from aioloader.errors import LoaderClosedError
from aioloader.testing import Fault, FaultServer
from aioloader.testing.faults import random_faults
from tests.faults.drill import HTTP, PASSING, S3, Via, below, bodies, check_exact, loader_of, number_and_sum, serving
from tests.faults.server_process import Served, server_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.reliability import Seen

VIAS = (*HTTP, *S3)
REMOTE = pytest.mark.parametrize("via", VIAS, ids=str)
SLOW = (Fault(kind="silent"), Fault(kind="cut"), Fault(kind="stall", at_bytes=2))
QUICK_FAULTS = ("reset", "cut", "status", "extra bytes")


def leave_by_break(loader: al.Loader, step: int) -> None:
    for number, _ in enumerate(loader):
        if number == step:
            break


def leave_by_error(loader: al.Loader, step: int) -> None:
    def read() -> None:
        for number, _ in enumerate(loader):
            if number == step:
                raise KeyError(step)

    with pytest.raises(KeyError):
        read()


def leave_by_closing(loader: al.Loader, step: int) -> None:
    for number, _ in enumerate(loader):
        if number == step:
            loader.close()
            return


def leave_by_forgetting(loader: al.Loader, step: int) -> None:
    batches = iter(loader)
    for _ in range(step + 1):
        next(batches)
    del batches
    gc.collect()


@pytest.mark.fault(row=30, stores=("http", "s3"))
@REMOTE
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_error, leave_by_closing, leave_by_forgetting])
def test_who_leaves_in_mid_epoch_leaves_nothing_and_the_next_epoch_is_whole(
    leave: Callable[[al.Loader, int], None], via: Via, fault_seed: int, seen: Seen
) -> None:
    objects = bodies(fault_seed, 60, sizes=(0, 5000))
    stored = below(via.prefix, objects)
    faults = random_faults(stored, QUICK_FAULTS, share=0.4, seed=fault_seed, most=2)
    with (
        serving(FaultServer(stored, faults, latency_s=0.005)) as server,
        loader_of(via.at(server.url), objects, seed=fault_seed, concurrency=8) as loader,
    ):
        leave(loader, random.Random(fault_seed).randrange(6))
        check_exact(loader, objects)
    seen.exact()


@pytest.mark.fault(row=30, stores=("local",))
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_error, leave_by_closing, leave_by_forgetting])
def test_who_leaves_an_epoch_from_disk(
    leave: Callable[[al.Loader, int], None], fault_seed: int, seen: Seen, tmp_path: Path
) -> None:
    objects = bodies(fault_seed, 60, sizes=(0, 5000))
    for key, body in objects.items():
        (tmp_path / key).write_bytes(body)
    with loader_of(al.LocalStore().at(tmp_path), objects, seed=fault_seed) as loader:
        leave(loader, random.Random(fault_seed).randrange(6))
        check_exact(loader, objects)
    seen.exact()


@pytest.mark.fault(row=31, stores=("http",))
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("via", HTTP, ids=str)
def test_a_fork_in_mid_epoch(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 60, sizes=(0, 5000))
    stored = below(via.prefix, objects)
    faults = random_faults(stored, QUICK_FAULTS, share=0.4, seed=fault_seed, most=2)
    with (
        serving(FaultServer(stored, faults, latency_s=0.01)) as server,
        loader_of(via.at(server.url), objects, seed=fault_seed, concurrency=8) as loader,
    ):
        batches = iter(loader)
        ids = next(batches).sample_ids.tolist()
        pid = os.fork()
        if pid == 0:
            try:
                next(iter(loader))
            except LoaderClosedError:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        ids += [index for batch in batches for index in batch.sample_ids.tolist()]
        assert sorted(ids) == list(range(60))
        check_exact(loader, objects)
    seen.exact()


def hold_the_gil(seconds: float) -> None:
    """Sleep without letting any other thread of the interpreter run."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@pytest.mark.fault(row=32, stores=("http",))
@pytest.mark.parametrize("via", HTTP, ids=str)
@pytest.mark.parametrize("block", [time.sleep, hold_the_gil], ids=["consumer sleeps", "GIL held"])
def test_who_blocks_makes_no_time_limit_ring(
    block: Callable[[float], None], via: Via, fault_seed: int, seen: Seen
) -> None:
    served = Served(seed=fault_seed, count=200, sizes=(100, 200_000), latency_s=0.05)
    with server_process(served) as child:
        # Blocked again and again, each time for less than the limits (as 3 s are less than 10).
        store = via.at(child.url, idle_timeout_s=1.5, floor_window_s=1.5)
        with loader_of(store, served.objects(), seed=fault_seed, concurrency=32, batch_size=20) as loader:
            ids = []
            for batch in loader:
                ids += batch.sample_ids.tolist()
                block(0.35)
            assert sorted(ids) == list(range(200))
            assert loader.stats().engine.requests.retries == 0
    assert child.counts["requests"] <= 1.1 * 200  # some may be hedged
    seen.exact()


@pytest.mark.fault(row=33, stores=("http", "s3"))
@REMOTE
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_one_loader_in_loop_after_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], via: Via, fault_seed: int, seen: Seen
) -> None:
    objects = bodies(fault_seed, 40, sizes=(0, 5000))
    stored = below(via.prefix, objects)
    faults = random_faults(stored, QUICK_FAULTS, share=0.4, seed=fault_seed, most=2)
    with serving(FaultServer(stored, faults)) as server:
        loader = al.AsyncLoader(
            al.from_samples([(key, index) for index, key in enumerate(objects)], store=via.at(server.url)),
            decode=number_and_sum, batch_size=8, drop_last=False, shuffle=True, seed=fault_seed,
        )  # fmt: skip

        async def epoch() -> list[int]:
            return [index async for batch in loader for index in batch.sample_ids.tolist()]

        for last in (False, False, True):
            with asyncio.Runner(loop_factory=new_loop) as runner:
                assert sorted(runner.run(epoch())) == list(range(40))
                if last:
                    runner.run(loader.aclose())
    seen.exact()


@pytest.mark.fault(row=33, stores=("http",))
@pytest.mark.blocks(reason="a notebook's cell runs in a loop, and the loader is used without await")
@pytest.mark.parametrize("via", HTTP, ids=str)
async def test_a_loader_is_read_without_await_inside_of_a_running_loop(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 40, sizes=(0, 5000))
    stored = below(via.prefix, objects)
    faults = random_faults(stored, QUICK_FAULTS, share=0.4, seed=fault_seed, most=2)
    with (
        serving(FaultServer(stored, faults)) as server,
        loader_of(via.at(server.url), objects, seed=fault_seed) as loader,
    ):
        check_exact(loader, objects)
    seen.exact()


@pytest.mark.fault(row=34, stores=("http", "s3"))
@pytest.mark.fault(row=35, stores=("http", "s3"))
@pytest.mark.parametrize(
    ("via", "order"), [(HTTP[0], "strict"), (HTTP[1], "window"), (S3[0], "any"), (S3[1], "strict")], ids=str
)
def test_budgets_smaller_than_one_object_with_a_slow_first_sample(
    order: Any, via: Via, fault_seed: int, seen: Seen
) -> None:
    objects = bodies(fault_seed, 24, sizes=(0, 100, 400_000))
    stored = below(via.prefix, objects)
    faults = random_faults(stored, PASSING, share=0.3, seed=fault_seed, most=1)
    # One batch's slab and nearly nothing for bodies; each is larger than what is left.
    options = {"concurrency": 1, "workers": 1, "max_queue_size": 1, "batch_size": 2, "max_memory": "100KB"}
    faults[next(iter(stored))] = list(SLOW)
    with (
        serving(FaultServer(stored, faults)) as server,
        loader_of(via.at(server.url), objects, order=order, shuffle=False, **options) as loader,
    ):
        check_exact(loader, objects)
    seen.exact()


@pytest.mark.fault(row=34, stores=("local",))
@pytest.mark.fault(row=35, stores=("local",))
@pytest.mark.parametrize("order", ["strict", "window", "any"])
def test_budgets_smaller_than_one_file(order: Any, fault_seed: int, seen: Seen, tmp_path: Path) -> None:
    objects = bodies(fault_seed, 24, sizes=(0, 100, 400_000))
    for key, body in objects.items():
        (tmp_path / key).write_bytes(body)
    options = {"concurrency": 1, "workers": 1, "max_queue_size": 1, "batch_size": 2, "max_memory": "100KB"}
    with loader_of(al.LocalStore().at(tmp_path), objects, order=order, seed=fault_seed, **options) as loader:
        check_exact(loader, objects)
    seen.exact()


@pytest.mark.fault(row=32, stores=("http",))
@pytest.mark.parametrize("via", HTTP, ids=str)
def test_a_thread_that_never_lets_go_of_the_gil_makes_no_time_limit_ring(via: Via, fault_seed: int, seen: Seen) -> None:
    served = Served(seed=fault_seed, count=150, sizes=(100, 200_000), latency_s=0.02)
    ended = threading.Event()

    def hog() -> None:
        while not ended.is_set():
            sum(range(20_000))  # in Python, without a break but the interpreter's own

    thread = threading.Thread(target=hog)
    with server_process(served) as child:
        store = via.at(child.url, idle_timeout_s=2.0, floor_window_s=2.0)
        with loader_of(store, served.objects(), seed=fault_seed, concurrency=32) as loader:
            thread.start()
            try:
                check_exact(loader, served.objects())
            finally:
                ended.set()
                thread.join()
            assert loader.stats().engine.requests.retries == 0
    assert child.counts["requests"] <= 1.1 * 150
    seen.exact()
