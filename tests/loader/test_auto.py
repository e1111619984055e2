"""The knobs of a real loader: what the tuner wants is done, and the verdict names what was built into the run."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from aioloader.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

N = 1200
BATCH_SIZE = 20


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects that hold their own number."""
    root = tmp_path_factory.mktemp("objects")
    for index in range(N):
        (root / f"{index:05d}.bin").write_bytes(index.to_bytes(8, "little"))
    return root


def number(data: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, np.int64)


def loader_of(url: str, decode: Any = number, **options: Any) -> al.Loader:
    data = al.from_samples([(f"{index:05d}.bin", index) for index in range(N)], root=url)
    return al.Loader(data, decode=decode, batch_size=BATCH_SIZE, **options)


def numbers(loader: al.Loader, pause_s: float = 0.0) -> Iterator[int]:
    for batch in loader:
        time.sleep(pause_s)
        yield from batch[0][:, 0].tolist()


def test_workers_that_the_tuner_wants_take_over_in_mid_epoch_and_are_told(objects: Path) -> None:
    with serve_in_thread(objects, Manners(latency_s=0.005)) as server, loader_of(server.url, concurrency=8) as loader:
        loader._tuner.settings = replace(loader.settings, use_multiprocessing=True, workers=2)
        kinds: set[bool] = set()
        seen: list[int] = []
        while not any(kinds):  # an epoch may be over before two interpreters are there
            for found in numbers(loader, 0.02):
                seen.append(found)
                kinds.add(bool(loader.timeline.moments and loader.timeline.moments[-1].settings.use_multiprocessing))
        assert seen == list(range(N)) * (len(seen) // N)
        assert loader.stats().engine.processes == 2
        loader._tuner.settings = replace(loader.settings, use_multiprocessing=False, workers=1)
        assert list(numbers(loader, 0.02)) == list(range(N))
        assert loader.timeline.moments[-1].settings.use_multiprocessing is False


def test_a_decoder_that_cannot_be_sent_stays_in_threads_and_the_report_says_why(objects: Path) -> None:
    lock = threading.Lock()

    def locked(data: bytes) -> np.ndarray[Any, Any]:
        with lock:
            return number(data)

    with serve_in_thread(objects, Manners(latency_s=0.005)) as server, loader_of(server.url, locked) as loader:
        loader._tuner.settings = replace(loader.settings, use_multiprocessing=True, workers=2)
        assert list(numbers(loader, 0.02)) == list(range(N))
        assert not loader.settings.use_multiprocessing
        assert "cannot be pickled" in loader.changes[-1].reason
        assert "cannot be pickled" in loader.report()


def test_more_batches_may_wait_where_the_tuner_says_so(objects: Path) -> None:
    with serve_in_thread(objects) as server, loader_of(server.url) as loader:
        loader._tuner.settings = replace(loader.settings, max_queue_size=16)
        assert list(numbers(loader, 0.03)) == list(range(N))
        assert loader.stats().queue_peak == 16


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_few_requests_at_a_long_latency_are_the_limit(objects: Path, *, use_multiprocessing: bool) -> None:
    with (
        serve_in_thread(objects, Manners(latency_s=0.05)) as server,
        loader_of(server.url, concurrency=8, use_multiprocessing=use_multiprocessing) as loader,
    ):
        for _ in zip(range(400), numbers(loader), strict=False):
            pass
        verdict = loader.verdict()
        assert verdict.limit in ("network latency", "network bandwidth")  # a busy machine makes a queue of it
        assert verdict.figures["in_flight"] == pytest.approx(8, rel=0.25)
        assert verdict.figures["data_wait_share"] > 0.8
        assert verdict.keras["workers"] == pytest.approx(8, abs=3)
        assert loader.report().splitlines()[1].split(maxsplit=1)[0] == "limit"
        assert json.loads(json.dumps(verdict.as_dict()))["limit"] == verdict.limit


def test_a_slow_consumer_is_the_limit_itself(objects: Path) -> None:
    with serve_in_thread(objects) as server, loader_of(server.url) as loader:
        for _ in zip(range(400), numbers(loader, 0.1), strict=False):
            pass
        verdict = loader.verdict()
        assert (verdict.limit, verdict.knob, verdict.gain) == ("consumer", "", 1.0)
        assert verdict.figures["consumer_per_s"] <= BATCH_SIZE / 0.1


def test_before_anything_was_read_the_verdict_says_so(objects: Path) -> None:
    with loader_of(str(objects)) as loader:
        assert loader.verdict().limit == "startup"
        assert len(loader.timeline) == 0
        assert loader.changes == ()


def test_a_store_that_never_waits_leaves_the_loop_its_turns() -> None:
    store = MemoryStore({f"{index:05d}.bin": index.to_bytes(8, "little") for index in range(N)})
    data = al.from_samples([(f"{index:05d}.bin", index) for index in range(N)], store=store)
    with al.Loader(data, decode=number, batch_size=BATCH_SIZE) as loader:
        until_s = time.monotonic() + 2.0
        for _ in loader.epochs(10**6):
            if time.monotonic() > until_s:
                break
        assert loader.stats().engine.loop_lag.max_s < 1.0
        assert len(loader.timeline) > 2


def test_two_loaders_of_one_origin_see_that_they_share_its_requests(objects: Path) -> None:
    with (
        serve_in_thread(objects, Manners(latency_s=0.2)) as server,
        loader_of(server.url) as first,
        loader_of(server.url) as second,
    ):
        until_s = time.monotonic() + 15
        for _ in zip(first.epochs(100), second.epochs(100), strict=True):
            if first.changes or second.changes or time.monotonic() > until_s:
                break
        changes = (*first.changes, *second.changes)
        assert changes[0].knob == "concurrency"
        assert changes[0].value == 128


def test_cpu_between_epochs_is_nobodys(objects: Path) -> None:
    with serve_in_thread(objects, Manners(latency_s=0.002)) as server, loader_of(server.url) as loader:
        assert list(numbers(loader)) == list(range(N))
        before = loader.timeline.moments[-1].process_cpu_s
        end_s = time.process_time() + 1.0
        while time.process_time() < end_s:
            pass
        for _ in zip(range(200), numbers(loader), strict=False):
            pass
        span = loader.timeline.latest(100)
        assert span is not None
        assert span.last.process_cpu_s - before < 0.9
        for name in ("process_cpu_s", "loop_cpu_s", "decode_cpu_s", "idle_s"):
            values = [getattr(moment, name) for moment in loader.timeline.moments]
            assert values == sorted(values)


def test_sums_go_on_where_a_closed_loader_opens_anew(objects: Path) -> None:
    with serve_in_thread(objects, Manners(latency_s=0.002)) as server, loader_of(server.url) as loader:
        for _ in range(2):
            for _ in zip(range(600), numbers(loader, 0.01), strict=False):
                pass
            loader.close()
        for name in ("loop_cpu_s", "lags", "lag_s", "answered", "active_s"):
            values = [getattr(moment, name) for moment in loader.timeline.moments]
            assert values == sorted(values)
            assert values[-1] > 0


def test_a_wait_counts_while_it_goes_on(objects: Path) -> None:
    with serve_in_thread(objects, Manners(latency_s=1.2)) as server, loader_of(server.url) as loader:
        next(iter(loader))
        waits = [moment.data_wait_s for moment in loader.timeline.moments]
        assert sum(0.1 < wait < 1.1 for wait in waits) >= 2


def test_on_a_local_disk_concurrency_stays_what_the_docs_say(objects: Path) -> None:
    with loader_of(str(objects)) as loader:
        for _ in range(3):
            assert sorted(numbers(loader)) == list(range(N))
        assert loader.settings.concurrency == 16
        assert "concurrency" not in {change.knob for change in loader.changes}
    root = Path(__file__).parents[2]
    rows = [*(root / "docs/tuning.md").read_text().splitlines(), *(root / "README.md").read_text().splitlines()]
    told = [row for row in rows if row.startswith("| `concurrency`") and "disk" in row]
    assert len(told) == 2
    assert all("stays 16" in row for row in told)
