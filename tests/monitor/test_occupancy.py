"""Occupancy and mean length of a queue, on the test's own clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.monitor.occupancy import Occupancy


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_has_passed_yet() -> None:
    occupancy = Occupancy(Clock())
    assert (occupancy.share(), occupancy.mean(), occupancy.peak) == (0.0, 0.0, 0)


def test_share_mean_and_peak_follow_the_length() -> None:
    clock = Clock()
    occupancy = Occupancy(clock)
    clock.now_s += 2  # empty
    occupancy.update(3)
    clock.now_s += 1
    occupancy.update(1)
    clock.now_s += 4
    occupancy.update(0)
    clock.now_s += 1
    assert occupancy.share() == pytest.approx(5 / 8)
    assert occupancy.mean() == pytest.approx(7 / 8)
    assert occupancy.peak == 3


def test_the_time_since_the_last_change_counts() -> None:
    clock = Clock()
    occupancy = Occupancy(clock)
    occupancy.update(2)
    clock.now_s += 10
    assert (occupancy.share(), occupancy.mean()) == (1.0, 2.0)


@given(changes=st.lists(st.tuples(st.floats(0.001, 100), st.integers(0, 9)), min_size=1, max_size=30))
def test_reading_changes_nothing(changes: list[tuple[float, int]]) -> None:
    clock = Clock()
    read, unread = Occupancy(clock), Occupancy(clock)
    for elapsed_s, length in changes:
        clock.now_s += elapsed_s
        assert 0 <= read.share() <= 1
        assert 0 <= read.mean() <= read.peak
        read.update(length)
        unread.update(length)
    clock.now_s += 1
    assert (read.share(), read.mean()) == (unread.share(), unread.mean())
