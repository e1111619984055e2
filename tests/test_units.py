"""Sizes and durations as people write them, and what they must not mistake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.errors import OptionError
from aioloader.units import human_bytes, human_time, parse_bytes, parse_seconds


@dataclass(frozen=True)
class Reading:
    text: Any
    value: float


BYTES = [
    Reading(0, 0),
    Reading(1500, 1500),
    Reading(1.9, 1),
    Reading("1500", 1500),
    Reading("7b", 7),
    Reading("2GB", 2_000_000_000),
    Reading("2g", 2_000_000_000),
    Reading("1.5 MB", 1_500_000),
    Reading(".5kB", 500),
    Reading("1KiB", 1024),
    Reading("10MiB", 10 * 1024**2),
    Reading("1tib", 1024**4),
    Reading("3T", 3_000_000_000_000),
    Reading("  8 kib ", 8192),
]
SECONDS = [
    Reading(0.03, 0.03),
    Reading(2, 2.0),
    Reading("0.03", 0.03),
    Reading("30ms", 0.03),
    Reading("250us", 250e-6),
    Reading("250\u00b5s", 250e-6),
    Reading("250\u03bcs", 250e-6),
    Reading("1.5 s", 1.5),
    Reading("2m", 120.0),
    Reading("5min", 300.0),
    Reading("1H", 3600.0),
]
NO_BYTES: list[Any] = [
    "",
    "GB",
    "2 X",
    "2 ms",
    "-1",
    "-2GB",
    "1e6",
    "1,000",
    "2GBs",
    "nan",
    "inf",
    None,
    True,
    [],
    b"2GB",
]
NO_SECONDS: list[Any] = ["", "ms", "2GB", "-1s", "1:30", "nan", "inf", None, False, {}, b"2s"]
NO_NUMBERS: list[Any] = [-1, -0.5, float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("case", BYTES, ids=lambda case: repr(case.text))
def test_a_size_is_read(case: Reading) -> None:
    parsed = parse_bytes("max_memory", case.text)
    assert (parsed, type(parsed)) == (case.value, int)


@pytest.mark.parametrize("case", SECONDS, ids=lambda case: ascii(case.text))
def test_a_duration_is_read(case: Reading) -> None:
    parsed = parse_seconds("latency", case.text)
    assert parsed == pytest.approx(case.value)
    assert isinstance(parsed, float)


@pytest.mark.parametrize("text", NO_BYTES + NO_NUMBERS, ids=repr)
def test_no_size_is_refused_with_the_options_name(text: Any) -> None:
    with pytest.raises(OptionError) as caught:
        parse_bytes("max_memory", text)
    assert str(caught.value).startswith(f"max_memory={text!r}: expected bytes, such as")


@pytest.mark.parametrize("text", NO_SECONDS + NO_NUMBERS, ids=repr)
def test_no_duration_is_refused_with_the_options_name(text: Any) -> None:
    with pytest.raises(OptionError) as caught:
        parse_seconds("latency", text)
    assert str(caught.value).startswith(f"latency={text!r}: expected a duration, such as")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_bytes, parse_seconds):
        try:
            assert parse("option", text) >= 0
        except OptionError as exc:
            assert exc.option == "option"  # noqa: PT017 - either outcome is right


@dataclass(frozen=True)
class Shown:
    value: float
    text: str


SHOWN_BYTES = [
    Shown(0, "0 B"),
    Shown(999, "999 B"),
    Shown(1000, "1.0 kB"),
    Shown(1_234_567, "1.2 MB"),
    Shown(999_949, "999.9 kB"),
    Shown(999_990, "1.0 MB"),
    Shown(2.5e9, "2.5 GB"),
    Shown(3e15, "3000.0 TB"),
]
SHOWN_TIMES = [
    Shown(0, "0 µs"),
    Shown(0.000_123, "123 µs"),
    Shown(0.000_999_9, "1.0 ms"),
    Shown(0.001_23, "1.2 ms"),
    Shown(0.999_96, "1.0 s"),
    Shown(1.25, "1.2 s"),
]


@pytest.mark.parametrize("case", SHOWN_BYTES, ids=lambda case: case.text)
def test_bytes_are_shown_with_the_unit_that_fits(case: Shown) -> None:
    assert human_bytes(case.value) == case.text


@pytest.mark.parametrize("case", SHOWN_TIMES, ids=lambda case: case.text)
def test_times_are_shown_with_the_unit_that_fits(case: Shown) -> None:
    assert human_time(case.value) == case.text
