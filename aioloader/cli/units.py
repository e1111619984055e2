"""Numbers with units as argparse types: ``30ms``, ``1.5s``, ``100MB/s``, ``10MiB``, ``1%``, ``200,50``."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, TypeVar

from aioloader.errors import OptionError
from aioloader.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def parse_bandwidth(option: str, text: str) -> int:
    """Bytes a second in ``text``: ``50MB`` and ``50MB/s`` are the same. Raises `OptionError`."""
    return parse_bytes(option, text.strip().removesuffix("/s"))


def parse_share(option: str, text: str) -> float:
    """A share from 0 to 1 in ``text``: ``0.01`` and ``1%`` are the same. Raises `OptionError`."""
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (1 if number == text.strip() else 100)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise OptionError(option, repr(text), "a share from 0 to 1, such as 0.01 or 1%")
    return share


def parse_rate_limit(option: str, text: str) -> tuple[float, float | None]:
    """Requests a second in ``text``, and so many at once after a comma, or None. Raises `OptionError`."""
    per_s, comma, burst = text.partition(",")
    try:
        found = float(per_s.strip().removesuffix("/s")), float(burst) if comma else None
    except ValueError:
        found = 0.0, None
    if not 0 < found[0] < math.inf or (found[1] is not None and not 1 <= found[1] < math.inf):
        raise OptionError(option, repr(text), "requests a second, and at once if you like, such as 200 or 200,50")
    return found


def _as_argument(parse: Callable[[str, str], T]) -> Callable[[str], T]:
    def parse_argument(text: str) -> T:
        try:
            return parse("", text)
        except OptionError as exc:
            # argparse names the option itself, and would drop the message of any other error.
            raise argparse.ArgumentTypeError(f"got {exc.got}, expected {exc.expected}") from exc

    return parse_argument


duration_s = _as_argument(parse_seconds)
bandwidth_bytes_per_s = _as_argument(parse_bandwidth)
share = _as_argument(parse_share)
rate_limit = _as_argument(parse_rate_limit)
