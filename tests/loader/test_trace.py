"""`Loader.trace`: what a run did, as Perfetto and chrome://tracing read it; and the one that a stall leaves behind."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import aioloader as al
from aioloader import errors
from aioloader.monitor.recorder import OLDER, RECENT
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.conftest import ASKED_ONCE
from tests.loader.hand_over_rig import Switching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

N_SAMPLES = 96
SECRET = "sv=2024&sig=AbCdEf0123456789"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("numbers")
    for number in range(N_SAMPLES):
        (root / f"{number:02d}.txt").write_text(str(number))
    with serve_in_thread(root, Manners(latency_s=0.02)) as server:
        yield server.url


def decode(data: bytes) -> NDArray[np.float32]:
    time.sleep(0.002)
    return np.array([int(data)], np.float32)


def read(path: Path) -> dict[str, Any]:
    trace: dict[str, Any] = json.loads(path.read_text())
    for event in trace["traceEvents"]:
        assert event["ph"] in "XMCibe"
        assert event["ts"] >= 0
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["name"]
    return trace


def lanes_of(trace: dict[str, Any]) -> dict[tuple[int, int], str]:
    """By process and lane: its name."""
    return {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }


def spans_of(trace: dict[str, Any]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """By process and lane, in order; no two overlap."""
    lanes: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            lanes.setdefault((event["pid"], event["tid"]), []).append(event)
    for events in lanes.values():
        events.sort(key=lambda event: event["ts"])
        for before, after in pairwise(events):
            assert before["ts"] + before["dur"] <= after["ts"] + 0.002, (before, after)
    return lanes


def new_loader(url: str, **options: Any) -> al.Loader:
    data = al.from_samples([f"{number:02d}.txt" for number in range(N_SAMPLES)], root=url)
    return al.Loader(data, **{"decode": decode, "batch_size": 8, "concurrency": 8, "retry": ASKED_ONCE, **options})


def test_every_stage_has_a_lane_with_spans_as_long_as_it_took(url: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with new_loader(url) as loader:
        for _ in loader:
            time.sleep(0.03)
        loader.trace(path)
    trace = read(path)
    named, spans = lanes_of(trace), spans_of(trace)
    by_name = {named[lane]: events for lane, events in spans.items()}
    assert set(by_name) == {"fetch (sampled)", "decode (sampled)", "batch queue", "consumer"}
    assert set(named.values()) == set(by_name) | {"knobs"}
    assert all(event["dur"] >= 20_000 for event in by_name["fetch (sampled)"])
    assert all(event["dur"] >= 2_000 for event in by_name["decode (sampled)"])
    assert all(re.fullmatch(r"\d\d\.txt", event["args"]["key"]) for event in by_name["decode (sampled)"])
    kinds = {event["name"] for event in by_name["consumer"]}
    assert kinds == {"waiting for data", "computing"}
    assert all(event["dur"] >= 30_000 for event in by_name["consumer"] if event["name"] == "computing")
    assert {pid for pid, _ in spans} == {os.getpid()}
    counters = {event["name"] for event in trace["traceEvents"] if event["ph"] == "C"}
    assert counters == {"requests in flight", "queued batches", "samples/s"}
    assert trace["otherData"]["concurrency"] == "8"


def test_worker_processes_have_lanes_of_their_own_on_the_same_clock(url: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with new_loader(url, use_multiprocessing=True, workers=2) as loader:
        for batch in loader.epochs(6):
            del batch
            time.sleep(0.02)
        loader.trace(path)
    trace = read(path)
    named, spans = lanes_of(trace), spans_of(trace)
    children = {pid for pid, _ in spans} - {os.getpid()}
    assert 1 <= len(children) <= 2
    for pid in children:
        assert {named[pid, lane] for lane in (1, 2)} == {"fetch (sampled)", "decode (sampled)"}
        assert spans[pid, 1][0]["dur"] >= 20_000
    consumer = next(events for lane, events in spans.items() if named[lane] == "consumer")
    first, last = consumer[0]["ts"], consumer[-1]["ts"] + consumer[-1]["dur"]
    decoded = [event for pid in children for event in spans[pid, 2]]
    assert decoded
    assert all(first <= event["ts"] <= last for event in decoded)


def test_both_kinds_of_workers_of_a_run_that_went_over_are_in_its_trace(url: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with new_loader(url, workers=2, use_multiprocessing=False) as loader:
        switching = Switching(loader)
        after = 0
        for batch in loader.epochs(1000):
            if (batch.epoch, batch.step) == (1, 0):
                switching.ask(True, 2)
            del batch
            after += bool(switching.switched)
            if after == 40:
                break
            time.sleep(0.02)
        loader.trace(path)
        switching.let_go()
    assert switching.switched == [("processes", 2)]
    decoders = [pid for pid, lane in spans_of(read(path)) if lane == 2]
    assert os.getpid() in decoders
    assert len(decoders) >= 2


def test_a_knobs_change_stands_there_with_its_reason(url: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with new_loader(url, concurrency="auto", decode=lambda body: np.array([int(body)])) as loader:
        deadline = time.monotonic() + 60
        while not loader.changes and time.monotonic() < deadline:
            for _ in loader:
                pass
        loader.trace(path)
        change = loader.changes[0]
    instants = [event for event in read(path)["traceEvents"] if event["ph"] == "i"]
    assert (f"{change.knob}={change.value}", {"reason": change.reason}) in [
        (event["name"], event["args"]) for event in instants
    ]


def test_a_long_run_makes_no_larger_trace(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    store = al.MemoryStore({f"{number:04d}": b"1" for number in range(2000)})
    data = al.from_samples([f"{number:04d}" for number in range(2000)], store=store)
    with al.Loader(data, decode=al.RawDecoder(), batch_size=4) as loader:
        for _ in loader.epochs(50):
            pass
        assert loader.stats().samples == 100_000
        loader.trace(path)
    lanes = spans_of(read(path))
    assert max(map(len, lanes.values())) <= 2 * (RECENT + OLDER + 1)
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("in_processes", [False, True])
def test_no_secret_of_a_key_is_in_a_trace(url: str, tmp_path: Path, *, in_processes: bool) -> None:
    path = tmp_path / "run.json"
    keys = [f"{url}{number:02d}.txt?{SECRET}" for number in range(64)]
    data = al.from_samples(keys, root=url, allow_hosts=[urlsplit(url).netloc])
    with al.Loader(data, decode=decode, batch_size=4, workers=1, use_multiprocessing=in_processes) as loader:
        for _ in loader.epochs(3):
            time.sleep(0.02)
        loader.trace(path)
    assert "AbCdEf" not in path.read_text()
    shown = [event["args"].get("key", "") for event in read(path)["traceEvents"] if event["ph"] == "X"]
    assert any(key.endswith("sig=…") for key in shown)


def hangs(data: bytes) -> NDArray[np.float32]:
    if int(data) == 20:
        time.sleep(1.5)
    return np.array([int(data)], np.float32)


def path_in(error: errors.StalledError) -> Path:
    found = re.search(r"drawn in (\S+\.json)", str(error))
    assert found is not None, error
    return Path(found[1])


@pytest.mark.parametrize("where", ["bucket", "disk"])
def test_a_sample_that_outlives_its_stream_is_in_the_trace_of_the_next(url: str, tmp_path: Path, where: str) -> None:
    path, began, may_end = tmp_path / "run.json", threading.Event(), threading.Event()

    def waits_once(data: bytes) -> NDArray[np.float32]:
        if int(data) == 20 and not began.is_set():
            began.set()
            may_end.wait(30)
        return np.array([int(data)], np.float32)

    for number in range(N_SAMPLES):
        (tmp_path / f"{number:02d}.txt").write_text(str(number))
    root = url if where == "bucket" else str(tmp_path)
    try:
        with new_loader(root, decode=waits_once, workers=2, close_timeout_s=5.0) as loader:
            for _ in loader:
                assert began.wait(30)
                break
            batches = iter(loader)
            next(batches)
            loader.trace(path)
            events = read(path)["traceEvents"]
            hanging = [event for event in events if event["ph"] == "b" and event["args"]["key"] == "20.txt"]
            assert "decode, unfinished" in {event["name"] for event in hanging}
            may_end.set()
            for _ in batches:
                pass
            loader.trace(path)
        assert not [event for event in read(path)["traceEvents"] if event["ph"] == "b"]
    finally:
        may_end.set()


@pytest.mark.parametrize("way", ["beside the ledger", "where temporary files go"])
def test_a_stall_leaves_a_trace_and_says_where(
    url: str, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path if way == "where temporary files go" else tmp_path / "ledgers"
    folder.mkdir(exist_ok=True)
    ledger = folder / "skipped.jsonl" if way == "beside the ledger" else None
    options: dict[str, Any] = {"decode": hangs, "workers": 1, "stall_timeout_s": 0.4, "ledger": ledger}
    with new_loader(url, **options) as loader, pytest.raises(errors.StalledError) as caught:
        for _ in loader:
            pass
    path = path_in(caught.value)
    assert path.parent == folder
    events = read(path)["traceEvents"]
    begun = {event["id"]: event for event in events if event["ph"] == "b"}
    ended = {event["id"]: event for event in events if event["ph"] == "e"}
    assert begun.keys() == ended.keys()
    (hanging,) = [event for event in begun.values() if event["args"]["key"] == "20.txt"]
    assert hanging["name"] == "decode, unfinished"
    assert ended[hanging["id"]]["ts"] - hanging["ts"] >= 400_000
    assert any(event["name"].startswith("stalled: ") for event in events)


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_a_stall_of_an_async_loader_leaves_one_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = al.from_samples([f"{number:02d}.txt" for number in range(N_SAMPLES)], root=url)
    async with al.AsyncLoader(data, decode=hangs, batch_size=8, workers=1, stall_timeout_s=0.4) as loader:
        with pytest.raises(errors.StalledError) as caught:
            _ = [batch.step async for batch in loader]
    assert path_in(caught.value).parent == tmp_path
    assert read(path_in(caught.value))["traceEvents"]


def test_a_stall_without_a_place_for_its_trace_is_a_stall_all_the_same(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with (
        new_loader(url, decode=hangs, workers=1, stall_timeout_s=0.4) as loader,
        pytest.raises(errors.StalledError, match=r"raise stall_timeout_s\.$"),
    ):
        for _ in loader:
            pass
    assert "no trace of the stall" in caplog.text
