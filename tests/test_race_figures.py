"""The arithmetic behind the benchmarks' verdicts."""

from __future__ import annotations

import pytest

from benchmarks.race.figures import limit_per_s, median_interval, paired_ratio, spread


@pytest.mark.parametrize(
    ("count", "outermost"),
    [
        (1, 1),
        (2, 1),
        (3, 1),  # 75 %: there is nothing better
        (5, 1),  # 93.75 %
        (7, 1),  # 98.4 %; the second to the sixth would be 87.5 %
        (8, 2),  # 93.0 %
        (10, 2),  # 97.9 %; the third to the eighth would be 89.1 %
        (11, 3),  # 93.5 %
        (13, 4),  # 90.8 %
    ],
)
def test_interval_is_the_narrowest_that_holds_the_median_with_ninety_percent(count: int, outermost: int) -> None:
    figures = [float(value) for value in range(count, 0, -1)]

    assert median_interval(figures) == (outermost, count + 1 - outermost)


def test_ratio_is_taken_within_rounds_and_only_of_rounds_that_both_have() -> None:
    ratio = paired_ratio({0: 10.0, 1: 40.0, 2: 90.0, 4: 7.0}, {0: 10.0, 1: 20.0, 2: 30.0, 3: 1.0})

    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high, ratio.rounds) == (1.0, 2.0, 3.0, 3)


def test_no_common_round_is_no_ratio() -> None:
    assert paired_ratio({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((1.01, 1.1, 1.2), "first"),
        ((0.9, 1.1, 1.2), "tied"),
        ((0.9, 0.95, 1.0), "tied"),
        ((0.96, 0.97, 0.98), "tied"),
        ((0.9, 0.96, 0.99), "behind"),
    ],
)
def test_verdict_is_by_median_and_by_whether_the_interval_reaches_one(ratios: tuple[float, ...], verdict: str) -> None:
    ratio = paired_ratio(dict(enumerate(ratios)), dict.fromkeys(range(len(ratios)), 1.0))

    assert ratio is not None
    assert ratio.verdict == verdict


def test_spread_of_one_figure_is_that_figure() -> None:
    found = spread([3.0])

    assert (found.low, found.median, found.high, found.rounds) == (3.0, 3.0, 3.0, 1)


def test_limit_shares_the_cores_among_the_parts_of_a_sample() -> None:
    assert limit_per_s(2, [600.0, 300.0, 100.0]) == 2000.0
