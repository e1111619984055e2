"""Which settings are tried, what two rates of a round say, and what is recommended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioloader.cli.tuning.contenders import Contender, Lane, against, contenders, recommended
from aioloader.cli.tuning.watched import held_settings
from aioloader.monitor.timeline import Moment, Settings, Timeline

THREADS = Settings(concurrency=64, workers=2, use_multiprocessing=False, max_queue_size=8)
PROCESSES = replace(THREADS, use_multiprocessing=True)


def lanes(*rates: list[float], is_frugal: bool = False) -> list[Lane]:
    """The first is what was found."""
    return [
        Lane(Contender(f"{index}", replace(THREADS, concurrency=64 + index), is_frugal and index > 0), list(one))
        for index, one in enumerate(rates)
    ]


def test_neighbours_are_the_other_kind_and_half_and_double_the_requests() -> None:
    half, double = replace(THREADS, concurrency=32), replace(THREADS, concurrency=128)
    tried = contenders(THREADS, THREADS, 60.0, 2, is_cpu_bound=False)
    assert [one.settings for one in tried] == [THREADS, half, double, PROCESSES]
    tried = contenders(THREADS, THREADS, 60.0, 2, is_cpu_bound=True)  # the most telling one first
    assert [one.settings for one in tried] == [THREADS, PROCESSES, half, double]


@pytest.mark.parametrize(("in_flight", "fewer"), [(0.3, 8), (7.0, 16), (15.9, 32)])
def test_where_few_are_in_flight_twice_as_many_are_tried(in_flight: float, fewer: int) -> None:
    _, _, frugal = contenders(THREADS, THREADS, in_flight, 2, is_cpu_bound=True)
    assert frugal.is_frugal
    assert frugal.settings == replace(THREADS, concurrency=fewer)


def test_one_core_has_no_use_for_processes() -> None:
    tried = contenders(THREADS, THREADS, 60.0, 1, is_cpu_bound=True)
    assert not any(one.settings.use_multiprocessing for one in tried)


def test_what_the_loader_wished_for_and_did_not_get_is_tried() -> None:
    wished = replace(PROCESSES, workers=3)
    assert contenders(THREADS, wished, 40.0, 4, is_cpu_bound=True)[1].settings == wished
    assert contenders(PROCESSES, PROCESSES, 40.0, 4, is_cpu_bound=True)[1].settings == replace(THREADS, workers=4)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([100.0, 110.0], None),
        ([100.0, 110.0, 90.0], (1.0, 0.9, 1.1)),
        ([100.0, 110.0, 90.0, 200.0, 105.0], (1.05, 0.9, 2.0)),
        ([100.0, 110.0, 90.0, 200.0, 105.0, 1.0, 104.0, 300.0], (1.045, 0.9, 2.0)),  # one of eight is left out
    ],
)
def test_pairs_give_a_median_and_an_interval(rates: list[float], expected: tuple[float, float, float] | None) -> None:
    base, other = lanes([100.0] * len(rates), rates)
    found = against(other, base)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.ratio, found.low, found.high) == pytest.approx(expected)


def test_rates_are_compared_with_those_of_their_own_round() -> None:
    base, other = lanes([100.0, 10.0, 1.0, 5.0], [200.0, 20.0, 2.0])  # it was interrupted in the fourth
    found = against(other, base)
    assert found is not None
    assert (found.low, found.ratio, found.high) == (2.0, 2.0, 2.0)


def test_the_clearly_best_is_recommended() -> None:
    found = recommended(lanes([100.0] * 3, [120.0, 121.0, 122.0], [150.0, 151.0, 152.0]))
    assert found.settings.concurrency == 66
    assert found.samples_per_s == 151.0
    assert found.reason == "2 gave 1.51 times the rate"


@pytest.mark.parametrize(
    "rates",
    [[104.0, 104.0, 104.0], [99.0, 150.0, 200.0], [109.0, 150.0, 150.0]],
    ids=["little", "not surely", "too few pairs"],
)
def test_what_is_not_clearly_better_is_not_recommended(rates: list[float]) -> None:
    found = recommended(lanes([100.0] * 3, rates))
    assert found.settings == THREADS
    assert found.reason == "no neighbour is clearly better"


@pytest.mark.parametrize(("rate", "concurrency"), [(99.5, 65), (94.0, 64)])
def test_fewer_requests_are_recommended_where_they_are_as_fast(rate: float, concurrency: int) -> None:
    found = recommended(lanes([100.0, 99.0, 100.0], [rate, rate, rate], is_frugal=True))
    assert found.settings.concurrency == concurrency


def test_five_pairs_that_all_say_the_same_are_enough() -> None:
    found = recommended(lanes([100.0] * 5, [101.0, 107.0, 108.0, 109.0, 110.0]))
    assert found.settings.concurrency == 65


def test_without_rounds_the_loaders_own_is_recommended_and_the_reason_says_so() -> None:
    found = recommended(lanes([100.0], [500.0]))
    assert found.settings == THREADS
    assert "no time to check" in found.reason


def test_a_number_of_requests_that_was_just_being_tried_is_not_what_was_found() -> None:
    timeline = Timeline()
    assert held_settings(timeline) is None
    for second, concurrency in enumerate([64, 64, 64, 128, 256, 128, 128, 128, 256]):
        settings = replace(PROCESSES, concurrency=concurrency)
        timeline.add(Moment(at_s=float(second), active_s=float(second), settings=settings))
    assert held_settings(timeline) == replace(PROCESSES, concurrency=128)
