"""A decoder that never returns, or that spoils its process's descriptors, holds up nobody and is named."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from aioloader import errors
from tests.loader.conftest import worker_pids
from tests.loader.deaths_decoders import Doing, DoingOnce
from tests.loader.deaths_kills import check_whole, make_loader, samples_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import aioloader as al

N = 96
HANGS = ["hang", "hang with the GIL"]
CLOSE_S = 0.5
NAMED = "is still in a decoder of an ended stream and was killed"


def until(condition: Callable[[], bool], *, what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def hanging(way: str, **options: Any) -> al.Loader:
    """Sample 20 is never decoded."""
    given = {"decode": Doing(way, (20,)), "shuffle": False, "workers": 2, "close_timeout_s": CLOSE_S}
    return make_loader(samples_in_memory(N), **given | options)


@pytest.mark.parametrize("way", HANGS)
def test_close_kills_a_process_whose_decoder_hangs_and_says_so(way: str, caplog: pytest.LogCaptureFixture) -> None:
    loader = hanging(way)
    batches = iter(loader)
    assert [next(batches).step for _ in range(2)] == [0, 1]
    time.sleep(0.5)  # for sample 20 to be begun, and to hold the GIL: nothing else would be left to do
    old = worker_pids()
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        loader.close()
        assert time.monotonic() - started < CLOSE_S + 1
        until(lambda: not worker_pids() & old, what="the hanging process lives", within_s=2)
    assert caplog.text.count(NAMED) == 1


@pytest.mark.parametrize("way", HANGS)
def test_break_returns_at_once_and_the_next_epoch_is_whole(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), hanging(way, decode=DoingOnce(str(tmp_path), way, 20)) as loader:
        batches = loader.open_epoch(0)
        assert [next(batches).step for _ in range(2)] == [0, 1]
        until((tmp_path / "done").exists, what="nobody decodes sample 20")
        old = worker_pids()
        started = time.monotonic()
        batches.close()
        assert time.monotonic() - started < 10  # ten times the promise
        check_whole(list(loader.open_epoch(1)), N)
        assert caplog.text.count(NAMED) == 1
        until(lambda: len(worker_pids()) == 2 and worker_pids() != old, what="it was not replaced")


@pytest.mark.parametrize("way", HANGS)
def test_a_stall_names_the_sample_and_its_process(way: str) -> None:
    with hanging(way, stall_timeout_s=4.0) as loader:
        batches = iter(loader)
        assert [next(batches).step for _ in range(2)] == [0, 1]
        with pytest.raises(errors.StalledError, match=r"the oldest: 0020\.bin \(decode in process (\d+), ") as caught:
            next(batches)
        assert any(f"0020.bin (decode in process {pid}," in str(caught.value) for pid in worker_pids())


@pytest.mark.parametrize("way", HANGS)
def test_another_loader_of_the_pool_goes_on_once_the_hanging_one_has_stalled(way: str) -> None:
    with make_loader(samples_in_memory(), workers=2) as other, hanging(way, stall_timeout_s=4.0) as loader:
        result: list[al.Batch] = []
        batches = iter(loader)
        next(batches)
        reader = threading.Thread(target=lambda: result.extend(other))
        reader.start()
        with pytest.raises(errors.StalledError):
            list(batches)
        reader.join(20)
        assert not reader.is_alive(), "the other loader waits for a process that is gone"
        check_whole(result)
