"""Ranges side by side share a request; every range lies in its request, whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioloader.storage.policies.range_groups import GAP_BYTES, MOST_BYTES, groups

RANGES = st.lists(
    st.tuples(st.integers(0, 20 * GAP_BYTES), st.integers(0, 4 * GAP_BYTES)).map(lambda pair: (pair[0], sum(pair))),
    max_size=30,
)


@given(RANGES)
def test_each_range_lies_in_one_request(ranges: list[tuple[int, int]]) -> None:
    found = groups(ranges)
    assert sorted(index for _, members in found for index in members) == list(range(len(ranges)))
    for (first, last), members in found:
        assert (first, last) == (min(ranges[index][0] for index in members), max(ranges[index][1] for index in members))
        assert len(members) == 1 or last - first <= MOST_BYTES


@given(RANGES)
def test_little_is_fetched_for_nothing(ranges: list[tuple[int, int]]) -> None:
    for (first, last), members in groups(ranges):
        wanted = {place for index in members for place in range(*ranges[index])}
        assert last - first - len(wanted) <= GAP_BYTES * (len(members) - 1)


def test_neighbours_share_and_others_do_not() -> None:
    far = 10 * GAP_BYTES
    assert groups([(100, 200), (0, 100), (far, far + 5), (200 + GAP_BYTES, 300 + GAP_BYTES)]) == [
        ((0, 300 + GAP_BYTES), [1, 0, 3]),
        ((far, far + 5), [2]),
    ]


def test_one_request_stays_small() -> None:
    part = MOST_BYTES // 4
    found = groups([(number * part, (number + 1) * part) for number in range(10)])
    assert [len(members) for _, members in found] == [4, 4, 2]


def test_one_that_is_larger_than_that_goes_alone() -> None:
    assert len(groups([(0, 2 * MOST_BYTES), (2 * MOST_BYTES, 2 * MOST_BYTES + 1)])) == 2
