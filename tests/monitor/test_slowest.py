"""The slowest samples are kept, and no more of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioloader.monitor.slowest import KEPT, Slowest, SlowSample

KEYS = st.sampled_from([f"{number}.jpg" for number in range(30)])
TIMES = st.floats(0.001, 100)


@given(st.lists(st.tuples(KEYS, TIMES), max_size=80))
def test_the_slowest_fetch_of_each_of_the_slowest_keys_is_kept(fetches: list[tuple[str, float]]) -> None:
    slowest = Slowest()
    most: dict[str, float] = {}
    for key, seconds in fetches:
        most[key] = max(most.get(key, 0.0), seconds)
        if seconds > slowest.least_s:  # as whoever fetches does
            slowest.add(key, seconds, 7)
    kept = slowest.samples
    assert [sample.seconds for sample in kept] == sorted(most.values(), reverse=True)[:KEPT]
    assert all(most[sample.key] == sample.seconds for sample in kept)
    assert len({sample.key for sample in kept}) == len(kept)


def test_what_is_no_slower_than_those_kept_is_turned_away_by_one_comparison() -> None:
    slowest = Slowest()
    assert slowest.least_s == 0.0
    for number in range(KEPT):
        slowest.add(f"{number}.jpg", 1.0 + number, 7)
    assert slowest.least_s == 1.0
    slowest.add("quick.jpg", 1.0, 7)
    assert "quick.jpg" not in {sample.key for sample in slowest.samples}


def test_secrets_of_a_key_are_not_kept() -> None:
    slowest = Slowest()
    slowest.add("https://bob:hunter2@host/a.jpg?sig=hunter2", 1.0, 7)
    assert slowest.samples == (SlowSample("https://host/a.jpg?sig=…", 1.0, 7),)
