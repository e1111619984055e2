"""The report's text and the record it is made of."""

from __future__ import annotations

import errno
from dataclasses import FrozenInstanceError

import pytest

from aioloader.monitor import stats
from aioloader.monitor.histogram import LatencyHistogram
from aioloader.monitor.stats import (
    STOPPED_DISK_FULL,
    STOPPED_FULL,
    STOPPED_OTHERWISE,
    CacheCounts,
    Counters,
    EngineStats,
    RequestCounts,
    freeze_latency,
)
from aioloader.units import human_time
from aioloader.view.report import render

KNOBS = {"concurrency": "64 (auto)", "workers": "2"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in its one element."""
    now = [50.0]
    monkeypatch.setattr(stats, "monotonic", lambda: now[0])
    return now


def test_before_the_first_batch_there_is_one_line() -> None:
    assert render(Counters().freeze(), KNOBS, "file:///data/") == "aioloader: no batch was read yet from file:///data/"


def test_a_record_of_nothing_divides_by_nothing() -> None:
    record = Counters().freeze()
    assert (record.samples_per_s, record.data_wait_share, record.elapsed_s) == (0.0, 0.0, 0.0)
    with pytest.raises(FrozenInstanceError):
        record.samples = 1  # type: ignore[misc]  # that it cannot is what is tested


def test_waiting_is_counted_from_the_first_request_to_the_last_batch(clock: list[float]) -> None:
    counters = Counters()
    for wait_s, train_s in [(2.0, 1.0), (0.5, 1.5), (0.0, 9.0)]:
        asked_at = counters.asked()
        clock[0] += wait_s
        counters.received(asked_at, 32, 1)
        clock[0] += train_s
    record = counters.freeze()
    assert (record.batches, record.samples, record.skipped) == (3, 96, 3)
    assert record.first_batch_s == 2.0
    assert record.data_wait_s == 2.5
    assert record.elapsed_s == 5.0  # the last 9 s of training wait for nothing
    assert record.data_wait_share == 0.5
    assert record.samples_per_s == pytest.approx(96 / 5)


def test_the_report_says_what_was_read_and_who_waited(clock: list[float]) -> None:
    counters = Counters()
    counters.fetch.latency.record(0.030)
    counters.decode.latency.record(0.002)
    counters.bytes_fetched, counters.in_flight_peak, counters.slab_bytes = 2_000_000, 17, 5000
    asked_at = counters.asked()
    clock[0] += 1
    counters.received(asked_at, 1200, 0)
    text = render(counters.freeze(), KNOBS, "s3://bucket/train/")
    lines = text.splitlines()
    assert lines[0] == "aioloader: 1,200 samples in 1 batch from s3://bucket/train/"
    for expected in (
        "1,200 samples/s over 1.0 s, 2.0 MB fetched; first batch after 1.0 s",
        "1.0 s, 100% of the time",
        "; 17 in flight at most",
        f"p50 {human_time(counters.fetch.latency.quantile(0.5))}, p99",
        f"decode       p50 {human_time(counters.decode.latency.quantile(0.5))}, p99",
        "5.0 kB of slabs",
        "concurrency=64 (auto), workers=2",
    ):
        assert expected in text
    assert "errors" not in text
    assert "copies" not in text


def test_failures_and_copies_have_a_line_only_where_there_are_some(clock: list[float]) -> None:
    counters = Counters()
    counters.fetch.failed, counters.decode.failed, counters.private_copies = 2, 1, 4
    asked_at = counters.asked()
    clock[0] += 1
    counters.received(asked_at, 10, 3)
    text = render(counters.freeze(), KNOBS, "memory:///")
    assert "3 samples failed, 3 stand-ins delivered" in text
    assert "4 batches copied" in text


def test_renewed_credentials_have_a_line_where_there_are_some(clock: list[float]) -> None:
    counters = Counters()
    asked_at = counters.asked()
    clock[0] += 1
    counters.received(asked_at, 10, 0)
    lag = freeze_latency(LatencyHistogram())
    for refreshed, words in ((0, None), (1, "renewed 1 time after"), (3, "renewed 3 times after")):
        engine = EngineStats(loop_lag=lag, requests=RequestCounts(refreshed=refreshed))
        text = render(counters.freeze(engine), KNOBS, "memory:///")
        assert ("credentials" in text) == (words is not None)
        assert (words or "") in text


def with_cache(counts: CacheCounts, clock: list[float], next_share: float | None = None) -> str:
    """The report's line on the cache; empty without one."""
    counters = Counters()
    asked_at = counters.asked()
    clock[0] += 1
    counters.received(asked_at, 10, 0)
    engine = EngineStats(loop_lag=counters.fetch.freeze(), cache=counts)
    lines = render(counters.freeze(engine), KNOBS, "s3://bucket/", (), next_share).splitlines()
    return "".join(line for line in lines if line.startswith("  cache "))


def test_a_cache_has_a_line_once_something_was_looked_up(clock: list[float]) -> None:
    assert with_cache(CacheCounts(), clock) == ""
    counts = CacheCounts(hits=300, hit_bytes=2_000_000, misses=700, written=650)
    assert with_cache(counts, clock) == "  cache        30% of 1,000 look-ups found (2.0 MB), 650 written"
    assert with_cache(counts, clock, 0.951).endswith("650 written; of the next epoch about 95%")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (CacheCounts(misses=1, stopped=STOPPED_FULL), "; full"),
        (CacheCounts(misses=1, stopped=STOPPED_DISK_FULL), "; full: 5% of the disk stays free"),
        (CacheCounts(misses=1, stopped=errno.EROFS), "; nothing more is written: Read-only file system"),
        (CacheCounts(misses=1, stopped=STOPPED_OTHERWISE), "; nothing more is written: see the log"),
        (CacheCounts(misses=1, dropped=2), "; 2 not written: the disk is slower than the store"),
        (CacheCounts(misses=1, bad=3), "; 3 spoilt, fetched again"),
    ],
)
def test_the_line_says_why_a_cache_does_less(clock: list[float], counts: CacheCounts, words: str) -> None:
    assert with_cache(counts, clock) == f"  cache        0% of 1 look-up found (0 B), 0 written{words}"


def test_counts_of_processes_add_up_and_one_that_stopped_shows() -> None:
    total = CacheCounts(hits=1, hit_bytes=2, misses=3, written=4, written_bytes=5, bad=6, dropped=7)
    total.add(CacheCounts(1, 2, 3, 4, 5, 6, 7, errno.ENOSPC))
    total.add(CacheCounts())
    assert total == CacheCounts(2, 4, 6, 8, 10, 12, 14, errno.ENOSPC)
    assert (total.lookups, total.hit_share, CacheCounts().hit_share) == (8, 0.25, 0.0)
