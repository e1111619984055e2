"""A loader goes over to other workers in mid-epoch: no sample is lost or repeated, and the order stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.hand_over_rig import check_whole, digest, make_loader, read_switching, write_samples

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
