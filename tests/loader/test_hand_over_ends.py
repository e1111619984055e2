"""Going over to other workers, cut short: by the consumer, by deaths, or by what cannot go over at all."""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from tests.loader.deaths_decoders import plus_one
from tests.loader.hand_over_rig import (
    Switching,
    check_whole,
    copied,
    in_memory,
    make_loader,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("warm_processes")

CEILING_S = 10.0


DECODER = """
from tests.loader import deaths_decoders

def decode(data):
    return deaths_decoders.plus_one(data)
"""
"""A module of the user's."""


def slow(data: bytes) -> Any:
    """A decoder that takes a few milliseconds."""
    time.sleep(0.003)
    return plus_one(data)


@pytest.mark.parametrize("in_processes", [False, True], ids=["from threads", "from processes"])
@pytest.mark.parametrize("steps_after", [0, 1, 9])
@pytest.mark.parametrize("ending", ["break", "close", "collected", "replaced"])
def test_a_consumer_may_leave_in_the_middle_of_going_over(ending: str, steps_after: int, *, in_processes: bool) -> None:
    loader = make_loader(in_memory(), decode=slow, use_multiprocessing=in_processes)
    switching = Switching(loader)
    batches = loader.open_epoch(epochs_ahead=1)
    for _ in range(3):
        next(batches)
    switching.ask_and_wait(not in_processes, 2)
    for _ in range(steps_after):
        next(batches)
    started = time.monotonic()
    if ending == "break":
        batches.close()
    elif ending == "close":
        loader.close()
        with pytest.raises(al.errors.LoaderClosedError):
            next(batches)
    elif ending == "collected":
        del batches
        gc.collect()
    else:
        other = loader.open_epoch()
        with pytest.raises(al.errors.StreamReplacedError):
            next(batches)
        other.close()
    if ending != "close":
        switching.wait_until_over()
        assert loader._job.options.use_multiprocessing != in_processes
        check_whole([copied(batch) for batch in loader.open_epoch(0)])
    loader.close()
    assert time.monotonic() - started < CEILING_S


@pytest.mark.parametrize("wait_s", [0.0, 0.05, 0.15, 0.3])
def test_a_loader_may_be_closed_while_processes_start(wait_s: float) -> None:
    with make_loader(in_memory(), decode=slow) as loader:
        switching, batches = Switching(loader), iter(loader)
        next(batches)
        switching.ask(True, 2)
        time.sleep(wait_s)
        batches.close()
    switching.wait(1)


@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.3])
def test_a_loader_may_be_collected_while_processes_start(wait_s: float) -> None:
    loader = make_loader(in_memory(), decode=slow)
    switching = Switching(loader)
    next(iter(loader))
    switching.ask(True, 2)
    time.sleep(wait_s)
    del loader
    gc.collect()
    switching.wait(1)
    switching.let_go()


def test_a_decoder_that_cannot_be_pickled_stays_in_threads() -> None:
    lock = threading.Lock()

    def with_lock(data: bytes) -> Any:
        with lock:
            return plus_one(data)

    with make_loader(in_memory(), decode=with_lock) as loader:
        switching, batches = Switching(loader), []
        for batch in loader:
            batches.append(copied(batch))
            if batch.step == 3:
                switching.ask_and_wait(True, 2)
        assert not switching.is_under_way
    check_whole(batches)
    assert switching.switched == []
    assert switching.refused == ["your decoder cannot be pickled (TypeError: cannot pickle '_thread.lock' object)"]


def test_a_decoder_that_cannot_be_loaded_elsewhere_stays_in_threads(tmp_path: Path) -> None:
    module = tmp_path / "only_here.py"
    module.write_text(
        "from tests.loader.deaths_decoders import plus_one as base\ndef decode(data):\n    return base(data)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import only_here  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))
    with make_loader(in_memory(), decode=only_here.decode) as loader:
        switching, batches = Switching(loader), []
        for batch in loader:
            batches.append(copied(batch))
            if batch.step == 3:
                switching.ask_and_wait(True, 2)
    check_whole(batches)
    assert len(switching.refused) == 1
    assert "your decoder cannot be loaded in a worker process (ModuleNotFoundError: " in switching.refused[0]


def test_a_second_change_while_one_is_under_way_is_refused() -> None:
    with make_loader(in_memory()) as loader:
        switching = Switching(loader)
        batches = iter(loader)
        next(batches)
        switching.ask(True, 2)
        switching.ask(True, 3)
        switching.wait(1)
        assert switching.refused == ["the last change of workers is not over yet"]
        list(batches)
        switching.wait(2)
    assert switching.switched == [("processes", 2)]
