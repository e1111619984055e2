"""A machine whose clock is wrong: how far, by what a server says of the time when it refuses a signature."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_SERVER_TIME = re.compile(r"<ServerTime>([0-9TZ:.+-]{10,40})</ServerTime>")

_UNITS: Final = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))


def ahead_by_date(date: str) -> float | None:
    """Seconds that this machine's clock is ahead of the server's ``Date`` header; None where there is none."""
    try:
        server = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return None
    return _ahead_of(server)


def ahead_by_body(text: str) -> float | None:
    """The same by the time that Amazon tells in the body of a refusal."""
    said = _SERVER_TIME.search(text)
    try:
        return None if said is None else _ahead_of(datetime.fromisoformat(said[1]))
    except ValueError:
        return None


def _ahead_of(server: datetime) -> float:
    if server.tzinfo is None:
        server = server.replace(tzinfo=UTC)
    return (datetime.now(UTC) - server).total_seconds()


def in_words(ahead_s: float | None) -> str:
    """A sentence, without its full stop."""
    if ahead_s is None:
        return "this machine's clock is far from that of the server"
    unit_s, unit = next((one for one in _UNITS if abs(ahead_s) >= 2 * one[0]), _UNITS[-1])
    number = round(abs(ahead_s) / unit_s)
    return f"this machine's clock is {number:,} {unit} {'behind' if ahead_s < 0 else 'ahead of'} the server's"
