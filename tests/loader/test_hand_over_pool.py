"""Going over to worker processes and back where no other loader keeps any: they start, die, and end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, Self

import pytest

import aioloader as al
from aioloader.engine import hand_over
from tests.loader.conftest import worker_pids
from tests.loader.deaths_decoders import DiesWhenUnpickled, plus_one
from tests.loader.hand_over_rig import BATCH_SIZE, Switching, check_whole, copied, digest, in_memory, make_loader

if TYPE_CHECKING:
    from pathlib import Path


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


def test_processes_end_once_threads_have_taken_over_and_nobody_else_uses_them() -> None:
    with make_loader(in_memory(), decode=slow, use_multiprocessing=True) as loader:
        switching, batches = Switching(loader), []
        for batch in loader.epochs(2):
            batches.append(copied(batch))
            if len(batches) == 2:
                assert worker_pids()
                switching.ask_and_wait(False, 2)
        switching.wait_until_over()
        assert not worker_pids()
        requests = loader.stats().engine.requests
        check_whole(batches)
        assert loader.stats().engine.requests == requests
        for batch in loader.epochs(1):
            if batch.step == 1:
                switching.ask_and_wait(True, 1)  # and start again
        assert len(worker_pids()) == 1


def test_a_decoder_that_kills_who_loads_it_stays_in_threads() -> None:
    class Dies(DiesWhenUnpickled):
        def __call__(self, data: bytes) -> Any:
            return plus_one(data)

    with make_loader(in_memory(), decode=Dies()) as loader:
        switching, batches = Switching(loader), []
        for batch in loader:
            batches.append(copied(batch))
            if batch.step == 3:
                switching.ask_and_wait(True, 2)
        assert worker_pids() == set()
    check_whole(batches)
    assert switching.refused == ["worker processes die while they load your decoder (the last with exit code 3)"]


class Killer:
    """Kills a worker process now and then, some of them before they are up."""

    def __init__(self, seed: int) -> None:
        self.kills = 0
        self._random = Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            pids = sorted(worker_pids())
            if pids and not self._stop.wait(self._random.uniform(0, 0.5)):
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice(pids), signal.SIGKILL)
                    self.kills += 1
                self._stop.wait(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_processes_that_are_killed_while_the_loader_goes_over_lose_nothing(seed: int) -> None:
    with make_loader(in_memory(), decode=slow) as loader, Killer(seed) as killer:
        switching, batches = Switching(loader), []
        for batch in loader.epochs(200):
            batches.append(copied(batch))
            if not switching.is_under_way and batch.step % 4 == 0:
                switching.ask(not loader._job.options.use_multiprocessing, 2)
            if len(switching.switched) >= 3 and killer.kills >= 2 and batch.step == loader.steps_per_epoch - 1:
                break
    assert len(switching.switched) >= 3
    with make_loader(in_memory()) as loader:
        assert [digest(batch) for batch in batches] == [digest(batch) for batch in loader.epochs(batches[-1].epoch + 1)]


def test_a_decoder_that_imports_a_framework_stays_in_threads(tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("")
    (tmp_path / "uses_jax.py").write_text("import jax\n" + DECODER)
    sys.path.insert(0, str(tmp_path))
    had = sys.modules.pop("jax", None)
    try:
        import uses_jax  # type: ignore[import-not-found]

        with make_loader(in_memory(), decode=uses_jax.decode) as loader:
            switching, batches = Switching(loader), []
            for batch in loader:
                batches.append(copied(batch))
                if batch.step == 3:
                    switching.ask_and_wait(True, 2)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("jax", None)
        if had is not None:
            sys.modules["jax"] = had
    check_whole(batches)
    assert len(switching.refused) == 1
    assert switching.refused[0].startswith("your decoder imports jax (")


@pytest.mark.parametrize("in_processes", [False, True], ids=["from threads", "from processes"])
def test_a_stall_in_the_middle_of_going_over_names_the_sample(tmp_path: Path, *, in_processes: bool) -> None:
    go = tmp_path / "go"
    held = 6 * BATCH_SIZE

    def waits(data: bytes, sample: al.SampleRef) -> Any:
        while sample.index == held and not go.exists():
            time.sleep(0.005)
        return plus_one(data)

    options: dict[str, Any] = {"use_multiprocessing": in_processes, "shuffle": False}
    options["stall_timeout_s"] = 4 if in_processes else 0.5  # they take their time to start
    with make_loader(in_memory(), decode=waits, **options) as loader:
        switching, batches = Switching(loader), iter(loader)
        next(batches)
        switching.ask_and_wait(not in_processes, 2)
        with pytest.raises(al.errors.StalledError, match=rf"{held:04d}\.bin \(decode"):
            list(batches)
        go.touch()


def test_processes_that_take_too_long_to_start_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_over, "START_S", 0.001)
    with make_loader(in_memory()) as loader:
        switching, batches = Switching(loader), []
        for batch in loader:
            batches.append(copied(batch))
            if batch.step == 3:
                switching.ask_and_wait(True, 2)
        assert switching.refused == ["worker processes did not start within 0.001 s: 0 of 2 are up"]
        monkeypatch.undo()
        switching.ask_and_wait(True, 2)  # and once more
        assert switching.switched == [("processes", 2)]
    check_whole(batches)
