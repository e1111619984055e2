"""A loader goes over to other workers in mid-epoch: no sample is lost or repeated, and the order stays."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.deaths_decoders import plus_one
from tests.loader.hand_over_rig import (
    BATCH_SIZE,
    Content,
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
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("warm_processes")

SWITCHES = 4


@pytest.fixture(params=["local", "http"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[al.Dataset]:
    """Files on this machine, which decode threads read themselves, or in a bucket 5 ms away."""
    pairs = write_samples(tmp_path)
    if request.param == "local":
        yield al.from_samples(pairs, root=str(tmp_path))
        return
    with serve_in_thread(tmp_path, manners=Manners(latency_s=0.005)) as server:
        yield al.from_samples(pairs, root=server.url)


@pytest.mark.parametrize("seed", range(4))
def test_in_strict_order_every_batch_is_the_one_of_an_undisturbed_run(data: al.Dataset, seed: int) -> None:
    with make_loader(data, use_multiprocessing=bool(seed % 2)) as loader:
        batches, switching = read_switching(loader, seed, SWITCHES)
    assert len(switching.switched) >= SWITCHES
    with make_loader(data) as loader:
        expected = [digest(batch) for batch in loader.epochs(batches[-1].epoch + 1)]
    assert [digest(batch) for batch in batches] == expected
    check_whole(batches)


@pytest.mark.parametrize("order", ["window", "any"])
@pytest.mark.parametrize("seed", range(2))
def test_in_any_order_each_sample_comes_once_an_epoch(data: al.Dataset, order: Any, seed: int) -> None:
    with make_loader(data, order=order, use_multiprocessing=bool(seed % 2)) as loader:
        batches, switching = read_switching(loader, seed, SWITCHES)
    assert len(switching.switched) >= SWITCHES
    check_whole(batches)


def fails_often(data: bytes, sample: al.SampleRef) -> Any:
    """About every ninth sample cannot be decoded."""
    if sample.index % 9 == 4:
        raise ValueError(f"number {sample.index}")
    return plus_one(data)


@pytest.mark.parametrize("seed", range(2))
def test_stand_ins_weights_and_the_ledger_are_those_of_an_undisturbed_run(data: al.Dataset, seed: int) -> None:
    options: dict[str, Any] = {"decode": fails_often, "on_error": "skip", "max_error_rate": 1.0}
    options |= {"class_weight": {label: 1 + label % 3 for label in range(len(data))}}
    with make_loader(data, **options, use_multiprocessing=bool(seed % 2)) as loader:
        batches, switching = read_switching(loader, seed, SWITCHES)
    assert len(switching.switched) >= SWITCHES
    with make_loader(data, **options) as undisturbed:
        expected = [digest(batch) for batch in undisturbed.epochs(batches[-1].epoch + 1)]
    assert [digest(batch) for batch in batches] == expected
    assert loader.skipped == undisturbed.skipped
    assert len({batch.step for batch in batches if not batch.valid.all()}) > 10, "failures on all sides of the borders"


@pytest.mark.parametrize("in_processes", [False, True], ids=["from threads", "from processes"])
@pytest.mark.parametrize("failing_step", [6, 12, 20])
def test_a_failure_is_raised_in_its_batch_whichever_stream_it_is_in(*, in_processes: bool, failing_step: int) -> None:
    failing = failing_step * BATCH_SIZE + 3

    def fails(data: bytes, sample: al.SampleRef) -> Any:
        if sample.index == failing:
            raise ValueError("broken")
        return plus_one(data)

    options: dict[str, Any] = {"shuffle": False, "use_multiprocessing": in_processes}
    with make_loader(in_memory(), decode=fails, **options) as loader:
        switching = Switching(loader)
        batches = iter(loader)
        steps = [next(batches).step, next(batches).step]
        switching.ask(not in_processes, 2)
        with pytest.raises(al.errors.DecodeError, match="broken") as caught:
            steps.extend(batch.step for batch in batches)
        assert caught.value.sample_id == failing
        assert steps == list(range(failing_step))
        # Up to 10 steps are begun in the first stream; there a failure may come first, and then nothing is handed over.
        switching.wait(1)
        switching.wait_until_over()
        assert len(switching.switched) == 1


@pytest.mark.parametrize("in_processes", [False, True], ids=["from threads", "from processes"])
def test_plain_loops_over_epochs_go_on_with_the_workers_of_before(*, in_processes: bool) -> None:
    with make_loader(in_memory(), use_multiprocessing=in_processes) as loader:
        switching, batches = Switching(loader), []
        for epoch in range(4):
            if epoch == 2:
                switching.ask_and_wait(not in_processes, 2)  # between two epochs
            batches += [copied(batch) for batch in loader]
        assert loader._job.options.use_multiprocessing != in_processes
        assert switching.switched == [("threads" if in_processes else "processes", 2)]
    check_whole(batches)
    with make_loader(in_memory()) as loader:
        assert [digest(batch) for batch in batches] == [digest(batch) for batch in loader.epochs(4)]


def test_a_closed_loader_opens_anew_with_the_workers_it_had() -> None:
    loader = make_loader(in_memory())
    switching = Switching(loader)
    batches = [copied(batch) for batch in loader]
    switching.ask_and_wait(True, 2)
    loader.close()
    batches += [copied(batch) for batch in loader]
    assert loader._job.options.use_multiprocessing
    check_whole(batches)
    loader.close()


@pytest.mark.parametrize("seed", range(2))
def test_loaders_that_share_processes_do_not_disturb_each_other(data: al.Dataset, seed: int) -> None:
    results: dict[int, tuple[list[Any], Switching]] = {}

    def read(number: int) -> None:
        with make_loader(data, use_multiprocessing=bool(number % 2)) as loader:
            results[number] = read_switching(loader, 10 * seed + number, 3)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(results) == 3
    for batches, switching in results.values():
        assert len(switching.switched) >= 3
        check_whole(batches)
        with make_loader(data) as loader:
            assert [digest(batch) for batch in batches] == [
                digest(batch) for batch in loader.epochs(batches[-1].epoch + 1)
            ]


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_an_async_consumer_does_not_notice_either() -> None:
    options: dict[str, Any] = {"decode": plus_one, "batch_size": BATCH_SIZE, "concurrency": 8, "workers": 2}
    batches = []
    async with al.AsyncLoader(in_memory(), **options, drop_last=False, use_multiprocessing=False) as loader:
        session = loader._session
        session.job = replace(session.job, controller=Content())
        switched: list[str] = []
        session.hand_over.on_switched = lambda kind, _: switched.append(kind)
        lease = session.holdings.lease
        assert lease is not None
        async for batch in loader.epochs(40):
            batches.append(copied(batch))
            if not session.hand_over.is_under_way and batch.step % 5 == 2:
                lease.post(session.switch, not loader._job.options.use_multiprocessing, 2)
            if len(switched) >= 3 and batch.step == loader.steps_per_epoch - 1:
                break
            await asyncio.sleep(0.002)
    assert switched[:3] == ["processes", "threads", "processes"]
    check_whole(batches)
