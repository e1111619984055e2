"""The search for the requests in flight against models of stores: latency, a narrow line, slow decoders, trouble."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from aioloader.tune.concurrency import LEAST, MOST, START, ConcurrencySearch, Window

WINDOW_S = 0.25


@dataclass
class Model:
    """A store of ``latency_s`` that gives at most ``most_per_s``, seen through a pipeline that takes ``used_per_s``."""

    latency_s: float
    most_per_s: float
    used_per_s: float = 1e9
    noise: float = 0.08

    def per_s(self, concurrency: int) -> float:
        return min(concurrency / self.latency_s, self.most_per_s, self.used_per_s)

    def window(self, concurrency: int, draw: Random) -> Window:
        per_s = self.per_s(concurrency) * draw.uniform(1 - self.noise, 1 + self.noise)
        is_bound = concurrency / self.latency_s <= self.used_per_s
        in_flight = concurrency * 0.97 if is_bound else self.used_per_s * self.latency_s
        return Window(WINDOW_S, round(per_s * WINDOW_S), in_flight)


def run(search: ConcurrencySearch, model: Model, seconds: float, seed: int = 1) -> None:
    draw = Random(seed)
    for _ in range(int(seconds / WINDOW_S)):
        search.observe(model.window(search.concurrency, draw))


@pytest.mark.parametrize("latency_s", [0.005, 0.03, 0.05, 0.2])
@pytest.mark.parametrize("most_per_s", [500, 2000, 8000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_ten_seconds_it_gets_nine_tenths_of_what_there_is(latency_s: float, most_per_s: float, seed: int) -> None:
    search, model = ConcurrencySearch(), Model(latency_s, most_per_s)
    run(search, model, 10, seed)
    possible = model.per_s(MOST)
    assert model.per_s(search.concurrency) >= 0.9 * possible
    # Not many more than are needed, either: a narrow line is not asked for a thousand at once.
    assert search.concurrency <= max(1.3 * START, 2.6 * possible * latency_s)


def test_where_something_else_limits_nothing_is_changed() -> None:
    search = ConcurrencySearch()
    run(search, Model(0.03, 10_000, used_per_s=700), 60)
    assert search.concurrency == START
    assert not search.changes


def test_it_follows_a_latency_that_rises_in_mid_run() -> None:
    search = ConcurrencySearch()
    run(search, Model(0.01, 2000), 20)
    slow = Model(0.15, 2000)
    run(search, slow, 20)
    assert slow.per_s(search.concurrency) >= 0.9 * 2000


def test_an_outage_halves_it_down_to_the_least() -> None:
    search = ConcurrencySearch()
    for _ in range(200):
        search.observe(Window(WINDOW_S, 2, 60.0, troubles=20))
    assert [change.concurrency for change in search.changes] == [32, 16, 8, LEAST]
    assert search.changes[0].reason == "20 of 22 connections failed or stood still"


def crowded(concurrency: int, most: int) -> Window:
    """A server that has ``most`` connections, and lets those beyond fail."""
    troubles = round(80 * max(concurrency - most, 0) / concurrency)
    return Window(WINDOW_S, 80 - troubles, concurrency * 0.97, troubles=troubles)


def test_trouble_that_ends_with_fewer_halves_until_it_does() -> None:
    search = ConcurrencySearch()
    for _ in range(40):
        search.observe(crowded(search.concurrency, 20))
        if search.concurrency <= 20:
            break
    assert search.concurrency == 16


@pytest.mark.parametrize("share", [0.12, 0.2, 0.35])
def test_trouble_that_stays_with_fewer_changes_nothing_for_long(share: float) -> None:
    """One answer in ten stands still, however many are asked for."""
    search, draw, bounds = ConcurrencySearch(), Random(1), []
    for _ in range(400):  # 100 s
        tried = 80
        troubles = sum(draw.random() < share for _ in range(tried))
        search.observe(Window(WINDOW_S, tried - troubles, 60.0, troubles=troubles))
        bounds.append(search.concurrency)
    assert sum(bounds) / len(bounds) >= 0.85 * START
    assert min(bounds) >= START / 4
    assert any("with half as many" in change.reason for change in search.changes)


def test_a_cut_line_now_and_then_is_no_trouble() -> None:
    search = ConcurrencySearch()
    for _ in range(40):
        search.observe(Window(WINDOW_S, 100, 30.0, troubles=1))
    assert search.concurrency == START


def test_after_trouble_it_comes_back() -> None:
    search, model = ConcurrencySearch(), Model(0.05, 2000)
    run(search, model, 10)
    before = model.per_s(search.concurrency)
    for _ in range(3):
        search.observe(Window(WINDOW_S, 10, 50.0, troubles=9))
    run(search, model, 30)
    assert model.per_s(search.concurrency) >= 0.9 * before


@pytest.mark.parametrize(("completed", "throttled"), [(120, 5), (40, 2), (0, 1)])
def test_refusals_change_nothing(completed: int, throttled: int) -> None:
    search = ConcurrencySearch()
    for _ in range(40):
        assert search.observe(Window(WINDOW_S, completed, 60.0, throttled=throttled)) == START


def test_a_refusal_in_every_small_window_is_a_share_too() -> None:
    search = ConcurrencySearch()
    for _ in range(80):
        assert search.observe(Window(WINDOW_S, 25, 60.0, throttled=1)) == START


@pytest.mark.parametrize("share", [0.002, 0.005, 0.01])
@pytest.mark.parametrize("latency_s", [0.03, 0.2, 0.8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_refusals_at_random_do_not_stop_the_search(share: float, latency_s: float, seed: int) -> None:
    """A store that refuses one of so many whatever is asked: its pace is never cut, and more in flight help."""
    search, model, draw = ConcurrencySearch(), Model(latency_s, 4000), Random(seed)
    for _ in range(120):  # 30 s
        window = model.window(search.concurrency, draw)
        throttled = sum(draw.random() < share for _ in range(window.completed))
        search.observe(replace(window, completed=window.completed - throttled, throttled=throttled))
    assert model.per_s(search.concurrency) >= 0.9 * model.per_s(MOST)


def test_each_change_has_its_reason() -> None:
    search = ConcurrencySearch()
    run(search, Model(0.05, 3000), 10)
    assert search.changes
    assert search.changes[0].reason.startswith("all 64 in flight at")
    assert all(change.reason and LEAST <= change.concurrency <= MOST for change in search.changes)
    assert len(search.changes) <= 64


def test_trouble_is_a_share_of_what_the_whole_process_asks() -> None:
    """A small loader beside a large one of the same origin hears of all troubles, and of few of the answers."""
    search = ConcurrencySearch()
    for _ in range(100):
        search.observe(Window(WINDOW_S, 240, 60.0, troubles=6, answered=250))
        search.observe(Window(WINDOW_S, 10, 60.0, troubles=6, answered=250))
    assert search.concurrency == START


def test_an_outage_of_few_requests_halves_it_soon() -> None:
    search = ConcurrencySearch(1024)
    for _ in range(480):  # two minutes, in which hardly anything is asked
        search.observe(Window(WINDOW_S, 0, 1000.0, troubles=2))
    assert search.concurrency == LEAST


def test_a_look_ahead_that_fills_up_before_slow_decoders_is_no_want_of_requests() -> None:
    search = ConcurrencySearch()
    for _ in range(40):  # all in flight, and what comes waits
        search.observe(Window(WINDOW_S, 80, 64.0, waiting=4 * search.concurrency))
    assert search.concurrency == START
    for _ in range(8):
        search.observe(Window(WINDOW_S, 80, 64.0, waiting=10))
    assert search.changes[0].concurrency == 2 * START


def test_a_pause_of_the_consumer_is_no_answer_of_the_store() -> None:
    search = ConcurrencySearch()
    for _ in range(4):
        search.observe(Window(WINDOW_S, 80, 64.0))
    assert search.concurrency == 2 * START
    for _ in range(80):
        search.observe(Window(WINDOW_S, 0, 0.0))
    for _ in range(5):
        search.observe(Window(WINDOW_S, 160, 128.0))
    assert search.concurrency == 4 * START
