"""``aioloader tune`` where the store refuses from some moment on: what was measured is not lost."""

from __future__ import annotations

import json
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import pytest

from aioloader.cli.decode_option import decoding
from aioloader.cli.tuning.contenders import Contender
from aioloader.cli.tuning.rounds import Turn, run_rounds
from aioloader.cli.tuning.watched import knobs_of, loader_of
from aioloader.dataset.manifest import manifest
from aioloader.errors import AccessDeniedError
from aioloader.monitor.timeline import Settings
from aioloader.testing.fault_server import FaultServer
from aioloader.testing.faults import Fault
from tests.faults.drill import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aioloader.cli.tuning.contenders import Lane
    from aioloader.loader import Loader
    from tests.cli.conftest import Start

KEYS: Final = [f"{number:03d}.bin" for number in range(256)]
BATCH_SIZE: Final = 8


@pytest.fixture
def server() -> Iterator[FaultServer]:
    objects = dict.fromkeys(KEYS, b"0" * 100) | {"all.csv": "\n".join(["key", *KEYS]).encode()}
    with serving(FaultServer(objects, latency_s=0.002)) as server:
        yield server


def refuse(server: FaultServer) -> None:
    """From now on."""
    server.faults = dict.fromkeys(KEYS, [Fault(kind="status", status=401)] * 100_000)


def test_rates_of_the_rounds_before_an_error_are_kept(server: FaultServer) -> None:
    data, made = manifest(server.url + "all.csv", label_mode=None), decoding("none", None)
    kept: list[Sequence[Lane]] = []

    def make(contender: Contender) -> Loader:
        return loader_of(data, made, BATCH_SIZE, **knobs_of(contender.settings))

    def tick() -> None:
        if kept and len(kept[0]) == 2 and all(len(lane.rates) >= 2 for lane in kept[0]):
            refuse(server)

    settings = [
        Settings(concurrency=number, workers=1, max_queue_size=2, use_multiprocessing=False) for number in (4, 8)
    ]
    with pytest.raises(AccessDeniedError, match="401"):
        run_rounds(
            [Contender(f"{one.concurrency} requests", one) for one in settings],
            make,
            until_s=monotonic() + 30,
            turn=Turn(filling_s=0.05, measured_s=0.1, around_s=0.05),
            step_time_s=0.0,
            tick=tick,
            keep=kept.append,
        )
    assert [len(lane.rates) for lane in kept[0]] in ([2, 2], [2, 3], [3, 2])
    assert all(rate > 0 for lane in kept[0] for rate in lane.rates)


def test_what_is_known_is_printed_and_written_with_the_sentence_of_the_error(
    server: FaultServer, tmp_path: Path, start: Start
) -> None:
    figures, page = tmp_path / "tune.json", tmp_path / "tune.html"
    options = ["--decode", "none", "--batch-size", str(BATCH_SIZE), "--seconds", "20s"]
    process = start("tune", server.url + "all.csv", "--manifest", *options, "--json", str(figures), "--plot", str(page))
    assert process.stderr is not None
    while "every knob" not in process.stderr.readline():
        pass
    answered, deadline = server.answered, monotonic() + 30
    while server.answered < answered + 600 and monotonic() < deadline:
        sleep(0.01)
    refuse(server)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in err
    sentence = err.splitlines()[-1].removeprefix("aioloader: ")
    assert "401" in sentence
    assert "a request alone" in out
    assert "verdict: " in out
    assert f"It ended early, and this is what was known by then: {sentence}\n" in out
    found = json.loads(figures.read_text())
    assert found["failure"] == sentence
    assert found["run"]["samples"] > 0
    assert "It ended early: " in page.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"tune.json", "tune.html"}
