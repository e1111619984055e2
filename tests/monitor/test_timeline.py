from __future__ import annotations

from typing import Any

import pytest

from aioloader.monitor.timeline import Moment, Settings, Span, Timeline

SETTINGS = Settings(concurrency=64, workers=2, use_multiprocessing=False, max_queue_size=8)


def moment(at_s: float, **sums: Any) -> Moment:
    given: dict[str, Any] = {"active_s": at_s} | sums
    return Moment(at_s=at_s, settings=SETTINGS, **given)


def test_a_span_is_the_difference_of_two_moments() -> None:
    span = Span(
        moment(10.0, samples=100, data_wait_s=1.0, fetched=100, fetch_s=8.0, decoded=50, decode_s=1.0),
        moment(12.0, samples=300, data_wait_s=1.5, fetched=300, fetch_s=28.0, decoded=250, decode_s=4.0),
    )
    assert span.seconds == 2.0
    assert span.samples_per_s == 100.0
    assert span.data_wait_share == 0.25
    assert span.in_flight == 10.0
    assert span.busy_lanes == 1.5
    assert span.fetch_mean_s == pytest.approx(0.1)
    assert span.decode_mean_s == pytest.approx(0.015)


def test_pauses_between_streams_do_not_count() -> None:
    span = Span(moment(10.0, active_s=5.0), moment(100.0, active_s=7.0, samples=20))
    assert (span.seconds, span.samples_per_s) == (2.0, 10.0)


def test_an_empty_span_has_no_rates() -> None:
    span = Span(moment(1.0), moment(1.0))
    assert (span.samples_per_s, span.fetch_mean_s, span.decode_mean_s, span.beat_share("full_beats")) == (0, 0, 0, 0)


def test_a_long_run_is_remembered_more_coarsely_and_within_bounds() -> None:
    timeline = Timeline(kept=16)
    for second in range(1000):
        timeline.add(moment(float(second), samples=second * 10))
        assert len(timeline) <= 16
    times = [known.at_s for known in timeline.moments]
    assert times[0] == 0.0
    assert times[-1] == 999.0
    assert times == sorted(set(times))
    assert sum(span.count("samples") for span in timeline.spans()) == 9990


def test_the_latest_seconds_are_those_of_open_streams() -> None:
    timeline = Timeline()
    assert timeline.latest(1.0) is None
    for second in range(10):
        timeline.add(moment(float(second), samples=second))
    latest = timeline.latest(3.0)
    assert latest is not None
    assert (latest.seconds, latest.count("samples")) == (3.0, 3)
    everything = timeline.latest(100.0)
    assert everything is not None
    assert everything.seconds == 9.0
