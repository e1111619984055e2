"""Sizes and durations as people write them: ``"2GB"``, ``"10MiB"``, ``"30ms"``."""

from __future__ import annotations

import math
import re

from aioloader.errors import OptionError

_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTES[_letter] = _BYTES[f"{_letter}b"] = 1000**_power
    _BYTES[f"{_letter}ib"] = 1024**_power
# Two letters look alike: U+00B5 is on keyboards, U+03BC is the Greek one.
_SECONDS = {"": 1.0, "s": 1.0, "us": 1e-6, "µs": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "min": 60.0, "m": 60.0, "h": 3600.0}
_SHOWN_BYTES = ("B", "kB", "MB", "GB", "TB")
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµ\u03bc]*)\s*", re.IGNORECASE)


def parse_bytes(option: str, text: str | float) -> int:
    """``"2GB"`` as 2,000,000,000, ``"1MiB"`` as 1,048,576; a number is bytes.

    Raises `OptionError` naming ``option``.
    """
    return int(_parse(option, text, _BYTES, 'bytes, such as 500_000_000, "500MB" or "2GiB"'))


def parse_seconds(option: str, text: str | float) -> float:
    """``"30ms"`` as 0.03; a number is seconds. Raises `OptionError` naming ``option``."""
    return _parse(option, text, _SECONDS, 'a duration, such as 0.03, "30ms", "2s" or "5min"')


def _parse(option: str, text: str | float, units: dict[str, float] | dict[str, int], expected: str) -> float:
    if isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    else:
        match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
        if match is None or match[2].lower() not in units:
            raise OptionError(option, repr(text), expected)
        value = float(match[1]) * units[match[2].lower()]
    if value < 0 or not math.isfinite(value):
        raise OptionError(option, repr(text), expected)
    return value


def human_bytes(nbytes: float) -> str:
    """``1234567`` as ``1.2 MB``; powers of 1,000."""
    for unit in _SHOWN_BYTES:
        if nbytes < 999.95 or unit == _SHOWN_BYTES[-1]:  # not 1000.0 kB
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    raise AssertionError  # the loop returns at the last unit


def human_time(seconds: float) -> str:
    """``0.00123`` as ``1.2 ms``."""
    if seconds < 0.9995e-3:  # not 1000 µs
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.99995:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s"
