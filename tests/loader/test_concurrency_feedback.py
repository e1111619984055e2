"""Requests in flight found by feedback, over a real bucket with latency, in threads and in worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread

if TYPE_CHECKING:
    from pathlib import Path

N = 2500


@pytest.fixture(scope="module")
def small_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects that hold their own number."""
    root = tmp_path_factory.mktemp("small")
    for number in range(N):
        (root / f"{number:05d}.bin").write_bytes(number.to_bytes(8, "little"))
    return root


def number(data: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, np.int64)


def loader_of(url: str, **options: Any) -> al.Loader:
    data = al.from_samples([(f"{index:05d}.bin", index) for index in range(N)], root=url)
    return al.Loader(data, decode=number, batch_size=25, workers=2, **options)


def check(loader: al.Loader) -> None:
    ids = np.concatenate([batch[0][:, 0] for batch in loader])
    assert ids.tolist() == list(range(N))  # strict order, whatever is changed meanwhile


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_more_requests_are_tried_where_a_bucket_is_slow(small_objects: Path, *, use_multiprocessing: bool) -> None:
    manners = Manners(latency_s=0.15)
    with (
        serve_in_thread(small_objects, manners=manners) as server,
        loader_of(server.url, use_multiprocessing=use_multiprocessing) as loader,
    ):
        check(loader)
        changes = [change for change in loader.changes if change.knob == "concurrency"]
        assert changes[0].value == 128
        assert changes[0].reason.startswith("all 64 in flight at")
        assert loader.stats().in_flight_peak > 64
        report = loader.report()
        assert "(auto)" in report
        assert changes[-1].reason in report
        # Another loader of the same origin goes on from there.
        with loader_of(server.url) as other:
            next(iter(other))
            assert "concurrency=64 (auto)" not in other.report()


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_number_of_the_user_is_obeyed(small_objects: Path, *, use_multiprocessing: bool) -> None:
    with (
        serve_in_thread(small_objects, manners=Manners(latency_s=0.02)) as server,
        loader_of(server.url, use_multiprocessing=use_multiprocessing, concurrency=20) as loader,
    ):
        check(loader)
        assert not [change for change in loader.changes if change.knob == "concurrency"]
        assert loader.stats().in_flight_peak <= 20


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_two_loaders_of_one_origin_keep_each_its_own_number(small_objects: Path, *, use_multiprocessing: bool) -> None:
    with (
        serve_in_thread(small_objects, manners=Manners(latency_s=0.02)) as server,
        loader_of(server.url, use_multiprocessing=use_multiprocessing, concurrency=64) as large,
        loader_of(server.url, use_multiprocessing=use_multiprocessing, concurrency=4) as small,
    ):
        some = iter(large)
        for batch in small:
            next(some)
            if batch.step == 30:
                break
        assert small.stats().in_flight_peak <= 4
        assert large.stats().in_flight_peak > 4
