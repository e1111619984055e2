"""A machine whose clock is wrong: told by what a server says of the time when it refuses a signature."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from aioloader.errors import AccessDeniedError

if TYPE_CHECKING:
    from aioloader.types import ByteRange

SKEWED: Final = "RequestTimeTooSkewed"
HINT: Final = "Set it (NTP), and run again."
# Amazon refuses a signed address for a clock that is behind as one that ran out, and 15 minutes is what ours last.
_RAN_OUT = re.compile(rb"<Code>AccessDenied</Code>.{0,200}Request has expired", re.DOTALL)
_SERVER_TIME = re.compile(r"<ServerTime>([0-9TZ:.+-]{10,40})</ServerTime>")
_TOLERATED_S: Final = 300.0


def is_about_time(code: str, body: bytes) -> bool:
    """Whether a refusal with S3's code word ``code`` blames the time at which the request was signed."""
    return code == SKEWED or (code == "AccessDenied" and _RAN_OUT.search(body) is not None)


def offset_by_date(date: str) -> float | None:
    """Seconds that this machine's clock is ahead of the server's ``Date`` header; None where there is none."""
    try:
        server = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return None
    return _ahead_of(server)


def offset_by_body(text: str) -> float | None:
    """The same by the time that S3 tells in such a refusal's body."""
    said = _SERVER_TIME.search(text)
    try:
        return None if said is None else _ahead_of(datetime.fromisoformat(said[1]))
    except ValueError:
        return None


def _ahead_of(server: datetime) -> float:
    if server.tzinfo is None:
        server = server.replace(tzinfo=UTC)
    return (datetime.now(UTC) - server).total_seconds()


def skew_error(offset_s: float | None, code: str, shown: str, byte_range: ByteRange | None) -> AccessDeniedError | None:
    """The error that names the clock; None where the clocks agree, and the refusal has another cause."""
    if offset_s is not None and abs(offset_s) < _TOLERATED_S:
        return None
    if offset_s is None:
        if code != SKEWED:
            return None
        said = "this machine's clock is far from that of the server"
    else:
        said = (
            f"this machine's clock is {_words(abs(offset_s))} {'behind' if offset_s < 0 else 'ahead of'} the server's"
        )
    word = SKEWED if code == SKEWED else "RequestExpired"
    return AccessDeniedError(f"{said}, which refuses what it signs ({word})", shown, HINT, byte_range)


def _words(seconds: float) -> str:
    for unit, unit_s in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * unit_s:
            return f"{round(seconds / unit_s):,} {unit}"
    return f"{round(seconds / 60)} minutes"
