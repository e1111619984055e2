"""The slowest samples of a run are known by key, whoever fetched them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.monitor.slowest import KEPT
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread

if TYPE_CHECKING:
    from pathlib import Path

N = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects that hold their own number, each one byte longer than the one before."""
    root = tmp_path_factory.mktemp("numbered")
    for number in range(N):
        (root / f"{number:05d}.bin").write_bytes(number.to_bytes(8, "little") + b"x" * number)
    return root


def first_number(data: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, np.int64, 1)


def check(url: str, **options: Any) -> None:
    """Read twice; the slowest are distinct, sorted, and the slowest of all is among them."""
    data = al.from_samples([(f"{index:05d}.bin", index) for index in range(N)], root=url)
    with al.Loader(data, decode=first_number, batch_size=6, workers=2, **options) as loader:
        for _ in loader.epochs(2):
            pass
        stats = loader.stats()
    slowest = stats.slowest
    assert len(slowest) == KEPT == len({sample.key for sample in slowest})
    times = [sample.seconds for sample in slowest]
    assert times == sorted(times, reverse=True)
    assert times[0] == pytest.approx(stats.fetch.max_s)
    assert all(sample.nbytes == 8 + int(sample.key[:5]) for sample in slowest)


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_buckets_slowest_keys_are_known(folder: Path, *, use_multiprocessing: bool) -> None:
    with serve_in_thread(folder, manners=Manners(latency_s=0.02)) as server:
        check(server.url, use_multiprocessing=use_multiprocessing)


def test_a_folders_slowest_keys_are_known(folder: Path) -> None:
    check(str(folder), use_multiprocessing=False)
