"""Whole epochs from a server of which many answers go wrong: every sample once, in threads and in worker processes."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.testing import Fault, FaultServer
from aioloader.testing.fault_server import TokenBucket, random_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSING = ("reset", "cut", "stall", "silent", "status", "throttle", "extra bytes")
QUICK = al.Retry(base_s=0.005, throttled_base_s=0.01)
N = 150


@contextmanager
def serving(server: FaultServer) -> Iterator[FaultServer]:
    """``server`` on a loop of its own."""
    up, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            up.set()
            await ended.wait()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def bodies(seed: int) -> dict[str, bytes]:
    """Objects of 1 byte to 200 kB; the first four bytes tell which it is."""
    draw = random.Random(seed)
    return {f"{index:04d}.bin": index.to_bytes(4, "big") + draw.randbytes(draw.choice((0, 100, 5000, 200_000)))
            for index in range(N)}  # fmt: skip


def number_and_sum(data: bytes) -> np.ndarray[Any, Any]:
    """int64 ``(2,)``: which sample it is, and the sum of its bytes."""
    return np.array([int.from_bytes(data[:4], "big"), sum(data)])


def epoch(server: FaultServer, **options: Any) -> al.Loader:
    data = al.from_samples([(key, index) for index, key in enumerate(server.objects)],
                           store=al.HTTPStore(idle_timeout_s=1.0).at(server.url))  # fmt: skip
    given: dict[str, Any] = {"batch_size": 8, "shuffle": True, "seed": 1, "drop_last": False, "retry": QUICK}
    return al.Loader(data, decode=number_and_sum, **given | options)


def check(loader: al.Loader, objects: dict[str, bytes]) -> None:
    """Every sample once, with the sum of its own bytes."""
    rows = np.concatenate([batch[0] for batch in loader])
    expected = [[index, sum(body)] for index, body in enumerate(objects.values())]
    assert sorted(rows.tolist()) == expected


def requests_until_good(faults: list[Fault]) -> int:
    """Bytes behind an answer spoil its connection, not the answer."""
    kinds = [fault.kind for fault in faults]
    return kinds.index("extra bytes") + 1 if "extra bytes" in kinds else len(kinds) + 1


@pytest.mark.parametrize("use_multiprocessing", [False, True])
@pytest.mark.parametrize("order", ["strict", "window"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_sample_comes_once(seed: int, order: str, *, use_multiprocessing: bool) -> None:
    objects = bodies(seed)
    faults = random_faults(objects, PASSING, share=0.3, seed=seed)
    with (
        serving(FaultServer(objects, faults)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, order=order, workers=2) as loader,
    ):
        check(loader, objects)
        assert server.requests == {key: requests_until_good(faults.get(key, [])) for key in objects}


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_store_that_limits_requests_is_asked_at_its_pace(*, use_multiprocessing: bool) -> None:
    objects = bodies(4)
    with (
        serving(FaultServer(objects, bucket=TokenBucket(per_s=100, burst=5), latency_s=0.01)) as server,
        epoch(
            server, use_multiprocessing=use_multiprocessing, workers=2, retry=al.Retry(throttled_base_s=0.25)
        ) as loader,
    ):
        check(loader, objects)
        check(loader, objects)
    assert server.refused > 0
    assert server.in_flight_peak <= 64


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_an_object_that_never_comes_is_named(*, use_multiprocessing: bool) -> None:
    objects = bodies(5)
    faults = {"0017.bin": [Fault(kind="cut", at_bytes=2)] * 50}
    with (
        serving(FaultServer(objects, faults)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, workers=2) as loader,
        pytest.raises(al.errors.TruncatedBodyError, match=r"0017\.bin.*attempt 6") as caught,
    ):
        list(loader)
    assert caught.value.sample_id == 17
    assert server.requests["0017.bin"] == 6


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_skipping_begins_when_asking_again_has_ended(*, use_multiprocessing: bool) -> None:
    objects = bodies(6)
    faults = {"0017.bin": [Fault(kind="status", status=500)] * 50}
    with (
        serving(FaultServer(objects, faults)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, workers=2, on_error="skip") as loader,
    ):
        assert sum(int((~batch.valid).sum()) for batch in loader) == 1
        assert [entry.key for entry in loader.skipped] == ["0017.bin"]
    assert server.requests["0017.bin"] == 6
