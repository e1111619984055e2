"""From when on a request is late, by what the latest ones of its size took; and how many may be made twice."""

from __future__ import annotations

import math
import random

import pytest

from aioloader.storage.policies.tails import LARGEST_BYTES, Allowance, Tail, Tails


def test_nothing_is_late_before_enough_is_known() -> None:
    tail = Tail()
    for _ in range(95):
        tail.record(0.05)
    assert tail.late_after_s == math.inf
    tail.record(0.05)
    assert tail.late_after_s == pytest.approx(0.1)


def test_late_is_the_slowest_twentieth_of_a_heavy_tail() -> None:
    tail, draw = Tail(), random.Random(3)
    took = [draw.lognormvariate(math.log(0.04), 0.99) for _ in range(4096)]
    for elapsed_s in took:
        tail.record(elapsed_s)
    late = sum(elapsed_s > tail.late_after_s for elapsed_s in took) / len(took)
    assert 0.02 < late < 0.1


def test_where_all_take_about_the_same_none_is_late() -> None:
    tail, draw = Tail(), random.Random(4)
    took = [draw.uniform(0.08, 0.12) for _ in range(512)]
    for elapsed_s in took:
        tail.record(elapsed_s)
    assert tail.late_after_s > max(took)


def test_the_latest_decide() -> None:
    tail = Tail()
    for _ in range(256):
        tail.record(1.0)
    for _ in range(256):
        tail.record(0.05)
    assert tail.late_after_s == pytest.approx(0.1)


def test_sizes_have_their_own() -> None:
    tails = Tails()
    small, large = tails.of(10_000), tails.of(2_000_000)
    assert small is not large
    assert tails.of(11_000) is small
    assert tails.of(None) is not small
    assert tails.of(LARGEST_BYTES + 1) is None
    assert small is not None
    assert tails.soonest_s == math.inf
    for _ in range(96):
        small.record(0.05)
    assert tails.soonest_s == small.late_after_s


def test_a_share_is_allowed_and_little_is_saved_up() -> None:
    allowance = Allowance()
    assert not allowance.spend()
    spent = 0
    for _ in range(1000):
        allowance.earn(0.05)
        spent += allowance.spend()
    assert spent in (49, 50)
    for _ in range(10_000):
        allowance.earn(0.05)
    assert sum(allowance.spend() for _ in range(100)) == 10
