"""What people type as numbers with units, through argparse."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aioloader.cli.units import bandwidth_bytes_per_s, duration_s, rate_limit, share

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Typed:
    parse: Callable[[str], float]
    text: str
    value: float


TYPED = [
    Typed(duration_s, "30ms", 0.03),
    Typed(duration_s, "1.5s", 1.5),
    Typed(duration_s, "250us", 0.00025),
    Typed(duration_s, "2 min", 120),
    Typed(duration_s, "0", 0),
    Typed(bandwidth_bytes_per_s, "100MB", 100_000_000),
    Typed(bandwidth_bytes_per_s, "100MB/s", 100_000_000),
    Typed(bandwidth_bytes_per_s, "10MiB", 10_485_760),
    Typed(bandwidth_bytes_per_s, "1.5kB", 1500),
    Typed(bandwidth_bytes_per_s, "4096", 4096),
    Typed(share, "0.01", 0.01),
    Typed(share, "1%", 0.01),
    Typed(share, "100 %", 1),
    Typed(share, "0", 0),
]


@pytest.mark.parametrize("case", TYPED, ids=lambda case: case.text)
def test_units_are_understood(case: Typed) -> None:
    assert case.parse(case.text) == pytest.approx(case.value, rel=1e-12)


def test_a_rate_limit_has_a_burst_if_told() -> None:
    assert rate_limit("200") == (200, None)
    assert rate_limit("0.5/s") == (0.5, None)
    assert rate_limit("200,50") == (200, 50)
    assert rate_limit("200/s, 50") == (200, 50)


@dataclass(frozen=True)
class Mistyped:
    parse: Callable[[str], object]
    text: str
    expected: str


MISTYPED = [
    Mistyped(duration_s, "30 parsecs", "30ms"),
    Mistyped(duration_s, "-1s", "30ms"),
    Mistyped(duration_s, "", "30ms"),
    Mistyped(bandwidth_bytes_per_s, "fast", "500MB"),
    Mistyped(bandwidth_bytes_per_s, "10MB/h", "500MB"),
    Mistyped(share, "1.5", "0.01 or 1%"),
    Mistyped(share, "101%", "0.01 or 1%"),
    Mistyped(share, "-1%", "0.01 or 1%"),
    Mistyped(share, "nan", "0.01 or 1%"),
    Mistyped(share, "1%%", "0.01 or 1%"),
    Mistyped(share, "half", "0.01 or 1%"),
    Mistyped(rate_limit, "0", "200,50"),
    Mistyped(rate_limit, "200,", "200,50"),
    Mistyped(rate_limit, "200,0.5", "200,50"),
    Mistyped(rate_limit, "nan", "200,50"),
    Mistyped(rate_limit, "many", "200,50"),
]


@pytest.mark.parametrize("case", MISTYPED, ids=lambda case: case.text)
def test_what_is_not_understood_is_shown_with_an_example(case: Mistyped) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        case.parse(case.text)
    assert repr(case.text) in str(raised.value)
    assert case.expected in str(raised.value)
