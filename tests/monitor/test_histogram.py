"""The latency histogram against the exact order statistics."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.monitor.histogram import LatencyHistogram

DURATIONS = st.floats(1e-6, 4_000.0)


@given(durations=st.lists(DURATIONS, min_size=1, max_size=300), share=st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_five_percent_of_the_exact_one(durations: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    histogram.record_all(durations)
    exact = sorted(durations)[max(ceil(share * len(durations)), 1) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.05)


@given(durations=st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_counts_sums_and_the_maximum_are_exact(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    histogram.record_all(durations)
    assert histogram.count == len(durations)
    assert histogram.total_s == pytest.approx(sum(durations))
    assert histogram.max_s == max(durations)
    assert histogram.quantile(1.0) <= histogram.max_s


@given(durations=st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_quantiles_do_not_fall_with_a_growing_share(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    histogram.record_all(durations)
    quantiles = [histogram.quantile(share / 20) for share in range(21)]
    assert quantiles == sorted(quantiles)


def test_an_empty_histogram_says_zero() -> None:
    assert LatencyHistogram().quantile(0.5) == 0.0


def test_what_is_longer_than_the_last_bucket_shows_as_the_longest() -> None:
    histogram = LatencyHistogram()
    histogram.record(100_000.0)
    assert histogram.quantile(0.5) == 100_000.0


def test_what_is_shorter_than_the_first_bucket_stays_a_microsecond_at_most() -> None:
    histogram = LatencyHistogram()
    histogram.record_all([0.0, 1e-9, 1e-7])
    assert histogram.quantile(0.99) <= 1e-6
