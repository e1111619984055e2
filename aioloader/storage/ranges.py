"""What a byte range means, on every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import OptionError, RangeNotHonouredError

if TYPE_CHECKING:
    from aioloader.types import ByteRange


def check_range(byte_range: ByteRange) -> None:
    """Raise `OptionError` unless ``byte_range`` is half-open, ``0 <= start <= stop``."""
    start, stop = byte_range
    if not 0 <= start <= stop:
        raise OptionError("byte_range", repr(byte_range), "(start, stop) with 0 <= start <= stop, in bytes")


def cut_range(byte_range: ByteRange | None, size_bytes: int, shown: str) -> ByteRange:
    """The range within an object of ``size_bytes``: cut at its end; None is the whole.

    Raises `RangeNotHonouredError` for one that starts beyond the end, as web servers do; the first bytes of
    an empty object are no bytes.
    """
    if byte_range is None:
        return 0, size_bytes
    start, stop = byte_range
    if start == stop:
        return 0, 0
    if start > 0 and start >= size_bytes:
        raise RangeNotHonouredError(
            f"the range starts beyond the object's end, at {size_bytes} bytes",
            shown,
            "Check the range, or list the dataset again.",
            byte_range,
        )
    return start, min(stop, size_bytes)
