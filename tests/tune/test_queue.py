from __future__ import annotations

from aioloader.tune.queue import MOST, START, QueueLength
from tests.tune.spans import load_of, settings

FULL = 2.0  # of four beats a second


def test_a_queue_that_is_full_at_times_and_empty_at_others_becomes_longer() -> None:
    queue = QueueLength()
    wanted = queue.observe(load_of(wait=0.1, full_beats=FULL, given=settings(max_queue_size=START)))
    assert wanted is not None
    assert wanted[0] == 2 * START
    assert "full 50% of the time" in wanted[1]
    assert queue.observe(load_of(wait=0.005, full_beats=FULL, given=settings(max_queue_size=2 * START))) is None


def test_a_longer_queue_that_does_not_help_is_given_up_for_a_while() -> None:
    queue = QueueLength()
    load = load_of(wait=0.1, full_beats=FULL)
    assert queue.observe(load) is not None
    wanted = queue.observe(load_of(wait=0.09, full_beats=FULL, given=settings(max_queue_size=16)))
    assert wanted is not None
    assert wanted[0] == 8
    tries = [queue.observe(load) for _ in range(4)]  # ten seconds each
    assert [tried is not None for tried in tries] == [False, False, True, True]


def test_a_queue_that_is_never_full_or_never_empty_stays() -> None:
    queue = QueueLength()
    assert queue.observe(load_of(wait=0.5, full_beats=0.0)) is None
    assert queue.observe(load_of(wait=0.0, full_beats=4.0)) is None
    assert queue.observe(load_of(wait=0.5, full_beats=FULL, given=settings(max_queue_size=MOST))) is None
