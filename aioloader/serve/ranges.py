"""HTTP's conditional and range headers as pure functions (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioloader.types import ByteRange

# 1,000 digits are more than any file has and fewer than int() refuses.
_SINGLE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,1000})\s*-\s*([0-9]{0,1000})\s*", re.IGNORECASE)


class UnsatisfiableRangeError(Exception):
    """No byte of the object is in the range: the answer is 416."""


def parse_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The half-open range that ``header`` asks of an object, or None for the whole.

    Several ranges, another unit and what cannot be parsed ask for the whole, as RFC 9110 allows. Raises
    `UnsatisfiableRangeError` where a well-formed range begins at or after the end.
    """
    match = _SINGLE_RANGE.fullmatch(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if first:
        start = int(first)
        if last and int(last) < start:
            return None
        if start >= size_bytes:
            raise UnsatisfiableRangeError
        return start, min(int(last) + 1, size_bytes) if last else size_bytes
    if not last:
        return None
    suffix_bytes = int(last)
    if suffix_bytes == 0:
        raise UnsatisfiableRangeError
    # A suffix of an empty object is the empty whole: Content-Range cannot say "no byte".
    return (max(0, size_bytes - suffix_bytes), size_bytes) if size_bytes else None


def if_match_holds(header: str | None, etag: str) -> bool:
    """Whether ``If-Match`` lets the request through; weak tags never match."""
    return header is None or header.strip() == "*" or etag in _tags(header)


def if_none_match_holds(header: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` asks for the body; weak tags match like strong ones."""
    if header is None:
        return True
    return header.strip() != "*" and etag not in {tag.removeprefix("W/") for tag in _tags(header)}


def if_range_holds(header: str | None, etag: str) -> bool:
    """Whether ``Range`` is to be obeyed: dates are not compared, so a date in ``If-Range`` gets the whole."""
    return header is None or header.strip() == etag


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}
