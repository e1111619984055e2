"""Range and conditional headers, against what slicing bytes gives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.serve.ranges import (
    UnsatisfiableRangeError,
    if_match_holds,
    if_none_match_holds,
    if_range_holds,
    parse_range,
)

SIZES = st.integers(0, 50)
PLACES = st.integers(0, 60)


@given(size=SIZES, first=PLACES, last=PLACES)
def test_closed_ranges_are_slices(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    if last < first:
        assert parse_range(f"bytes={first}-{last}", size) is None
    elif first >= size:
        with pytest.raises(UnsatisfiableRangeError):
            parse_range(f"bytes={first}-{last}", size)
    else:
        asked = parse_range(f"bytes={first}-{last}", size)
        assert asked is not None
        assert asked[1] <= size
        assert body[slice(*asked)] == body[first : last + 1]


@given(size=SIZES, first=PLACES)
def test_open_ranges_go_to_the_end(size: int, first: int) -> None:
    if first >= size:
        with pytest.raises(UnsatisfiableRangeError):
            parse_range(f"bytes={first}-", size)
    else:
        assert parse_range(f"bytes={first}-", size) == (first, size)


@given(size=st.integers(1, 50), suffix=st.integers(1, 60))
def test_suffix_ranges_are_the_last_bytes(size: int, suffix: int) -> None:
    body = bytes(range(size))
    asked = parse_range(f"bytes=-{suffix}", size)
    assert asked is not None
    assert body[slice(*asked)] == body[-suffix:]


def test_a_suffix_of_nothing_cannot_be_satisfied() -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range("bytes=-0", 10)


def test_a_suffix_of_an_empty_object_is_the_whole() -> None:
    assert parse_range("bytes=-5", 0) is None


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=\u0661-2", "0-1"],
)
def test_what_is_no_single_byte_range_asks_for_the_whole(header: str | None) -> None:
    assert parse_range(header, 10) is None


def test_a_range_may_have_spaces_capitals_and_more_digits_than_int_takes() -> None:
    assert parse_range(" BYTES = 2 - 3 ", 10) == (2, 4)
    assert parse_range("bytes=2-" + "9" * 1000, 10) == (2, 10)
    assert parse_range("bytes=2-" + "9" * 8000, 10) is None


@dataclass(frozen=True)
class Condition:
    id: str
    header: str | None
    matches: bool
    none_matches: bool


CONDITIONS = [
    Condition("absent", None, True, True),
    Condition("same", '"a-1"', True, False),
    Condition("other", '"b"', False, True),
    Condition("one of a list", '"b", "a-1"', True, False),
    Condition("any", "*", True, False),
    Condition("weak", 'W/"a-1"', False, False),
]


@pytest.mark.parametrize("case", CONDITIONS, ids=lambda case: case.id)
def test_entity_tags_are_compared_as_the_rfc_says(case: Condition) -> None:
    assert if_match_holds(case.header, '"a-1"') is case.matches
    assert if_none_match_holds(case.header, '"a-1"') is case.none_matches


@pytest.mark.parametrize(
    ("header", "holds"),
    [(None, True), ('"a-1"', True), ('"b"', False), ("Tue, 01 Jan 2030 00:00:00 GMT", False)],
)
def test_if_range_holds_for_the_same_tag_only(header: str | None, holds: bool) -> None:
    assert if_range_holds(header, '"a-1"') is holds
