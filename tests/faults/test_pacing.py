"""Sending at a pace, repeating within a budget, the floor under transfers: arithmetic on a clock of the test's."""

from __future__ import annotations

import asyncio
import heapq
from random import Random

import pytest

from aioloader.storage.http.slow_reads import SlowReads
from aioloader.storage.policies.pace import Pace
from aioloader.storage.policies.retry import Retry, RetryBudget


def turn(pace: Pace, now_s: float) -> float:
    """Seconds until whoever comes now may send."""
    return pace.wait_s(pace.book(now_s), now_s)


def simulated(per_s: float, burst: float, round_trip_s: float, seconds: float, requests: int) -> tuple[float, float]:
    """``requests`` in flight against a token bucket: what was accepted a second after 10 s, and the share refused."""
    pace, draw = Pace(), Random(1)
    tokens, filled_s = burst, 0.0
    events: list[tuple[float, int, str, float]] = [(0.0, number, "book", 0.0) for number in range(requests)]
    accepted = refused = 0
    while events:
        now_s, number, what, sent_s = heapq.heappop(events)
        if now_s > seconds:
            break
        if what == "book":
            heapq.heappush(events, (now_s, number, "wait", pace.book(now_s)))
        elif what == "wait":
            wait_s = pace.wait_s(sent_s, now_s)  # `sent_s` is the place in line
            event = (now_s, number, "send", 0.0) if wait_s <= 0 else (now_s + min(wait_s, 0.25), number, "wait", sent_s)
            heapq.heappush(events, event)
        elif what == "send":
            heapq.heappush(events, (now_s + round_trip_s / 2, number, "arrive", now_s))
        elif what == "arrive":
            tokens = min(tokens + (now_s - filled_s) * per_s, burst)
            filled_s = now_s
            is_accepted = tokens >= 1
            tokens -= is_accepted
            answer = "accepted" if is_accepted else "refused"
            heapq.heappush(events, (now_s + round_trip_s / 2 * draw.uniform(0.9, 1.1), number, answer, sent_s))
        else:
            if what == "accepted":
                pace.accepted(now_s)
                wait_s = 0.0
            else:
                pace.refused(now_s, now_s - sent_s, None)
                wait_s = draw.uniform(0, 1)
            if now_s > 10:
                accepted, refused = accepted + (what == "accepted"), refused + (what == "refused")
            heapq.heappush(events, (now_s + wait_s, number, "book", 0.0))
    return accepted / (seconds - 10), refused / max(accepted + refused, 1)


@pytest.mark.parametrize(("round_trip_s", "requests"), [(0.005, 64), (0.05, 64), (0.005, 256), (0.05, 256), (0.2, 256)])
@pytest.mark.parametrize("burst", [50, 500])
def test_a_token_bucket_gives_nearly_all_it_has_and_refuses_few(round_trip_s: float, burst: int, requests: int) -> None:
    per_s, refused = simulated(500, burst, round_trip_s, seconds=40, requests=requests)
    assert per_s >= 0.9 * 500
    assert refused < 0.05


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
def test_refusals_that_no_pace_removes_do_not_stop_everything(share: float) -> None:
    pace, draw = Pace(), Random(5)
    now_s = 0.0
    for _ in range(20_000):  # 500 a second by itself
        now_s += max(turn(pace, now_s), 1 / 500)
        if draw.random() < share:
            pace.refused(now_s, 0.01, None)
        else:
            pace.accepted(now_s)
    assert pace.per_s is None or pace.per_s >= 0.6 * 500 * (1 - share)


def test_a_limit_that_falls_in_mid_run_is_followed() -> None:
    pace, now_s, limit = Pace(), 0.0, 500.0
    tokens, filled_s, accepted = 50.0, 0.0, 0
    for _ in range(30_000):
        now_s += max(turn(pace, now_s), 1 / 2000)
        limit = 500.0 if now_s < 20 else 50.0
        tokens, filled_s = min(tokens + (now_s - filled_s) * limit, 50.0), now_s
        if tokens >= 1:
            tokens -= 1
            pace.accepted(now_s)
            accepted += now_s > 30
        else:
            pace.refused(now_s, 0.01, None)
        if now_s > 60:
            break
    assert pace.per_s is not None
    assert 35 <= pace.per_s <= 60
    assert accepted / (now_s - 30) >= 0.85 * 50


def test_a_lull_is_no_limit() -> None:
    """Epochs of 400 requests at 300 a second end by a slow tail, in which one is refused for no reason."""
    pace = Pace()
    now_s, paces = 0.0, []
    for number in range(8000):
        place = number % 400
        now_s += max(turn(pace, now_s), 0.05 if place > 370 else 1 / 300)
        if place in (392, 395):
            pace.refused(now_s, 0.01, None)
            paces.append(pace.per_s)
        else:
            pace.accepted(now_s)
    assert len(paces) == 40
    assert all(per_s is None or per_s >= 0.7 * 300 for per_s in paces)


@pytest.mark.parametrize("outage_s", [0.3, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("requests", [64, 512])
def test_an_outage_leaves_no_slow_pace_behind(outage_s: float, requests: int) -> None:
    """Everything is refused for a while; then everything is accepted again."""
    pace, draw = Pace(), Random(1)
    events: list[tuple[float, int, str, float]] = [(0.0, number, "book", 0.0) for number in range(requests)]
    accepted = [0] * 60
    failures = [0] * requests
    while events:
        now_s, number, what, place = heapq.heappop(events)
        if now_s > 40:
            break
        if what == "book":
            heapq.heappush(events, (now_s, number, "wait", 0.0 if pace.is_free else pace.book(now_s)))
        elif what == "wait":
            wait_s = pace.wait_s(place, now_s) if place else 0.0
            event = (
                (now_s + 0.05, number, "answer", 0.0)
                if wait_s <= 0
                else (now_s + min(wait_s, 0.25), number, "wait", place)
            )
            heapq.heappush(events, event)
        elif 5 <= now_s < 5 + outage_s:
            pace.refused(now_s, 0.05, None)
            failures[number] += 1
            heapq.heappush(events, (now_s + draw.uniform(0, min(2 ** (failures[number] - 1), 20)), number, "book", 0.0))
        else:
            pace.accepted(now_s)
            failures[number] = 0
            accepted[int(now_s)] += 1
            heapq.heappush(events, (now_s, number, "book", 0.0))
    usual = accepted[4]
    assert usual > 10 * requests
    assert accepted[39] >= 0.9 * usual
    assert accepted[int(5 + outage_s) + 12] >= 0.5 * usual


def test_without_a_refusal_nobody_waits() -> None:
    pace = Pace()
    for number in range(10_000):
        assert pace.is_free
        assert turn(pace, number / 5000) == 0
        pace.accepted(number / 5000)
    assert pace.per_s is None


def test_a_pace_that_nobody_needs_any_more_is_dropped() -> None:
    pace = Pace()
    for number in range(1000):
        pace.accepted(number / 1000)
    for number in range(400):
        pace.accepted(1.0 + number / 1000)
        if number % 5 == 0:
            pace.refused(1.0 + number / 1000, 0.01, None)
    assert pace.per_s == pytest.approx(930, rel=0.12)
    for number in range(1000):  # 20 a second from now on
        pace.accepted(1.4 + number / 20)
    assert pace.is_free


def test_what_the_store_asks_to_wait_holds_for_all() -> None:
    pace = Pace()
    pace.accepted(0.5)
    pace.refused(1.0, 0.01, retry_after_s=3)
    assert turn(pace, 1.0) == pytest.approx(3)
    assert turn(pace, 2.0) >= 2


def test_an_outage_is_not_multiplied() -> None:
    budget, draw = RetryBudget(128), Random(3)
    begun: list[float] = []
    waiting = [(draw.random(), 1) for _ in range(256)]
    retry = Retry(attempts=100)
    heapq.heapify(waiting)
    while waiting and waiting[0][0] < 60:
        now_s, failures = heapq.heappop(waiting)
        at_s = now_s + max(retry.wait_s(failures, draw.random(), throttled=False), budget.book(now_s))
        begun.append(at_s)
        heapq.heappush(waiting, (at_s + 0.01, failures + 1))
    assert sum(10 < at_s <= 60 for at_s in begun) / 50 <= 10


def test_refusals_cost_a_part_of_a_repetition() -> None:
    """A server that refuses one request in six, and breaks one in twelve, is asked again at once."""
    budget, draw = RetryBudget(128), Random(4)
    waits_s = []
    for number in range(5000):
        fate = draw.random()
        if fate < 1 / 6:
            waits_s.append(budget.book(number / 300, throttled=True))
        elif fate < 1 / 4:
            waits_s.append(budget.book(number / 300))
        else:
            budget.succeeded()
    assert max(waits_s) == 0


def test_when_requests_succeed_again_so_may_repetitions() -> None:
    budget = RetryBudget(2)
    assert [budget.book(0.0) for _ in range(4)] == [0, 0, 0.5, 1.0]
    for _ in range(40):
        budget.succeeded()
    assert budget.book(0.0) == 0


def test_what_is_booked_and_not_made_comes_back_and_no_more() -> None:
    budget = RetryBudget(3)
    for _ in range(40):
        budget.book(0.0, throttled=True)
        budget.give_back(throttled=True)
    assert [budget.book(0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    for _ in range(40):
        budget.give_back()
    assert [budget.book(0.0) for _ in range(4)] == [0, 0, 0, 0.5]


async def test_on_a_narrow_line_slow_transfers_are_left_alone() -> None:
    slow = SlowReads(4096, 0.3)
    tasks = [asyncio.create_task(asyncio.sleep(30)) for _ in range(65)]
    reads = []
    for task in tasks:
        read = slow.begin([])
        read.task = task
        reads.append(read)
    await asyncio.sleep(0.1)
    for read in reads[1:33]:
        read.count(1000)
    for read in reads[33:]:
        read.parts.append(bytes(1000))  # a quarter less than the floor asks for, but so are all
    await asyncio.sleep(0.4)
    await asyncio.sleep(0)
    assert [read.is_slow for read in reads] == [True] + [False] * 64
    slow.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
