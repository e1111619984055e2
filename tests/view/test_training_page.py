"""The page on a training run: the figures of the timeline are where they belong."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.monitor.changes import KnobChange
from aioloader.monitor.slowest import SlowSample
from aioloader.monitor.stats import Counters
from aioloader.monitor.timeline import Moment, Settings, Span, Timeline
from aioloader.monitor.verdict import Verdict
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from aioloader.view.over_time import OverTime
from aioloader.view.training_page import training_page
from aioloader.view.waiting import BUDGET, DECODING, FETCHING, REFUSALS, STARTUP, UNKNOWN, busiest, where_seconds_went
from tests.view.looking import look
from tests.view.test_hostile_text import HOSTILE, check_harmless, see

if TYPE_CHECKING:
    from pathlib import Path

    from tests.view.chromium import Browser

SETTINGS = Settings(concurrency=8, workers=2, use_multiprocessing=False, max_queue_size=4)
VERDICT = Verdict(
    limit="decode CPU", sentence="decode CPU: both threads are busy -> workers=4", knob="workers=4", gain=1.9
)
KNOBS = {"concurrency": "8 (auto)", "workers": "2"}


def timeline_of(*moments: dict[str, Any]) -> Timeline:
    """Moments a second apart on a clock that began at 1,000 s, unless they say otherwise."""
    timeline = Timeline()
    for second, counted in enumerate(moments):
        timeline.add(Moment(**{"at_s": 1000.0 + second, "active_s": second, "settings": SETTINGS, **counted}))
    return timeline


def test_a_wait_that_is_noted_late_was_in_the_seconds_before() -> None:
    over_time = OverTime(timeline_of({}, {"batches": 1}, {}, {"data_wait_s": 1.5, "batches": 2}, {"data_wait_s": 1.5}))
    layers = where_seconds_went(over_time, lambda span: "something")
    assert [layer.name for layer in layers] == ["consumer at work", "waiting: something"]
    assert layers[1].values == [0, 0.5, 1, 0]
    assert layers[0].values == [1, 0.5, 0, 1]


def test_time_without_an_open_epoch_is_neither_work_nor_waiting() -> None:
    over_time = OverTime(timeline_of({}, {"active_s": 1.0}, {"active_s": 1.25}, {"active_s": 2.25, "data_wait_s": 0.5}))
    layers = {layer.name: layer.values for layer in where_seconds_went(over_time, lambda span: "it")}
    assert layers == {
        "consumer at work": [1, 0.25, 0.5],
        "waiting: it": [0, 0, 0.5],
        "no epoch open": [0, 0.75, 0],
    }


def test_shares_of_each_second_add_up_to_one() -> None:
    moments = [{"data_wait_s": 0.3 * second**1.5, "active_s": 0.9 * second} for second in range(9)]
    layers = where_seconds_went(OverTime(timeline_of(*moments)), busiest)
    assert [sum(values) for values in zip(*(layer.values for layer in layers), strict=True)] == pytest.approx([1] * 8)


def test_seconds_of_requests_are_spread_over_the_time_that_they_took() -> None:
    over_time = OverTime(timeline_of({}, {}, {"fetch_s": 12.0}))
    assert over_time.held("fetch_s", lambda span: 8) == [4, 8]
    assert over_time.points([4, 8]) == [(0, 4), (1, 8), (2, 8)]


@pytest.mark.parametrize(
    ("counted", "cause"),
    [
        ({"batches": 0, "fetch_s": 8.0}, STARTUP),
        ({"fetch_s": 7.9}, FETCHING),
        ({"fetch_s": 7.9, "decode_s": 1.0}, FETCHING),
        ({"fetch_s": 4.1, "decode_s": 1.9}, DECODING),
        ({"fetch_s": 4.1, "throttled": 3}, REFUSALS),
        ({"beats": 4, "blocked_beats": 3, "fetch_s": 1.0}, BUDGET),
        ({"fetch_s": 1.0, "decode_s": 0.5}, UNKNOWN),
    ],
)
def test_what_was_waited_for_is_the_station_nearest_to_its_limit(counted: dict[str, Any], cause: str) -> None:
    begin = Moment(at_s=0, active_s=0, settings=SETTINGS, batches=0 if cause == STARTUP else 1)
    end = replace(begin, at_s=1, active_s=1, **counted)
    assert busiest(Span(begin, end)) == cause


def stats_of(**changed: Any) -> Any:
    """Figures of a run that received something."""
    counters = Counters()
    counters.fetch.latency.record_all([0.03] * 99 + [0.9])
    counters.decode.latency.record_all([0.004] * 100)
    return replace(counters.freeze(), samples=100, batches=10, elapsed_s=4.0, data_wait_s=1.0, **changed)


def moments(count: int = 5) -> Timeline:
    return timeline_of(
        *({"samples": 25 * second, "batches": second, "data_wait_s": 0.5 * second} for second in range(count))
    )


def test_changes_are_marked_and_listed_with_their_reasons() -> None:
    changes = [
        KnobChange(1001.0, "concurrency", 64, "32 gave twice the rate"),
        KnobChange(0.0, "workers", 2, "two cores"),
        KnobChange(1002.0, "max_queue_size", 8, "batches come unevenly"),
    ]
    html = training_page(stats_of(), moments(), VERDICT, changes, KNOBS, "s3://bucket/train/")
    texts = see(html).texts
    assert texts.count("1 s: concurrency=64: 32 gave twice the rate") == 2  # listed, and shown when pointed at
    assert texts.count("0 s: workers=2: two cores") == 2
    assert "batches come unevenly" in texts
    assert '<line class="event" x1="25%"' in html
    assert VERDICT.sentence in texts
    assert "workers=4, 1.9 times as fast" in texts


def test_the_page_names_what_failed_and_what_was_slow() -> None:
    counters = Counters()
    engine = counters.freeze().engine
    engine = replace(engine, requests=replace(engine.requests, retries=1234, throttled=17))
    slowest = (SlowSample("images/slow.jpg", 12.5, 66_000),)
    timeline = timeline_of({}, {"retries": 4}, {"retries": 4})
    html = training_page(stats_of(engine=engine, slowest=slowest), timeline, VERDICT, [], KNOBS, "s3://bucket/")
    texts = see(html).texts
    for shown in ("1,234", "17", "images/slow.jpg", "12.5 s", "66.0 kB", "Over time: repeated"):
        assert shown in texts


def test_a_moment_right_before_another_makes_no_peak() -> None:
    timeline = timeline_of({}, {}, {"at_s": 1001.004, "samples": 20}, {"at_s": 1002.0, "samples": 20})
    over_time = OverTime(timeline)
    assert over_time.edges == pytest.approx([0, 1.004, 2])
    assert over_time.rates("samples") == pytest.approx([20 / 1.004, 0])


def test_many_moments_are_thinned_and_many_changes_folded() -> None:
    changes = [KnobChange(1000.0 + 4 * number, "workers", number, f"reason {number}") for number in range(100)]
    timeline = moments(500)
    over_time = OverTime(timeline)
    assert len(over_time.spans) <= 256
    assert (over_time.edges[0], over_time.edges[-1]) == (0, 499)
    assert sum(
        rate * seconds for rate, seconds in zip(over_time.rates("samples"), over_time.lengths(), strict=True)
    ) == (pytest.approx(25 * 499))
    html = training_page(stats_of(), timeline, VERDICT, changes, KNOBS, "s3://bucket/")
    assert "<summary>All 100 changes</summary>" in html
    assert "reason 99" in see(html).texts
    assert len(html) < 400_000


def test_a_run_of_nothing_has_a_page_too() -> None:
    html = training_page(Counters().freeze(), Timeline(), Verdict(limit="startup", sentence="startup"), [], {}, "x")
    check_harmless(html)
    assert "Nothing failed and nothing was repeated." in see(html).texts
    assert see(html).texts.count("Nothing was recorded.") >= 8


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_keys_and_reasons_stay_text(text: str) -> None:
    changes = [KnobChange(1001.0, knob, 1, text) for knob in ("concurrency", "workers", text)]
    stats = stats_of(slowest=(SlowSample(text, 1.0, 1),))
    verdict = Verdict(limit="GIL", sentence=text, knob=text, keras={text: 1})
    html = training_page(stats, moments(), verdict, changes, {text: text}, text, cause=lambda span: text)
    check_harmless(html)


def test_no_secret_of_a_source_or_a_reason_is_shown() -> None:
    secret = "https://bob:hunter2@host/bucket?sig=hunter2"
    changes = [KnobChange(1001.0, "concurrency", 64, f"GET {secret} was slow")]
    html = training_page(stats_of(), moments(), VERDICT, changes, {"cache": secret}, secret)
    assert "hunter2" not in html


def decoded(data: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(data, np.int64, 1)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on a run of three epochs from a slow bucket; the last has a slow consumer."""
    root = tmp_path_factory.mktemp("bucket")
    for number in range(600):
        (root / f"{number:05d}.bin").write_bytes(number.to_bytes(8, "little") * 100)
    with serve_in_thread(root, manners=Manners(latency_s=0.08, error_rate=0.01)) as server:
        data = al.from_samples([(f"{index:05d}.bin", index) for index in range(600)], root=server.url)
        with al.Loader(data, decode=decoded, batch_size=20, shuffle=True, seed=1) as loader:
            for epoch in range(3):
                for _ in loader:
                    time.sleep(0.02 if epoch == 2 else 0)
            html = training_page(loader.stats(), loader.timeline, loader.verdict(), loader.changes, KNOBS, server.url)
    page = root.parent / "training.html"
    page.write_text(html, encoding="utf-8")
    return page


@pytest.mark.chromium
@pytest.mark.parametrize("width", [1280, 400])
async def test_the_page_on_a_real_run_is_readable(chromium: Browser, report: Path, width: int) -> None:
    visit = await look(chromium, report, width)
    assert await visit.evaluate("document.querySelectorAll('svg[role=img]').length") >= 9
    assert await visit.evaluate("document.querySelectorAll('.empty').length") == 0
