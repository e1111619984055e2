"""What worker processes are at, in words."""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.engine.processes.link import Link


def describe(links: Sequence[Link], stream: int, key_of: Callable[[int], str], workers: int, most: int) -> str:
    """The oldest samples of a stream that processes have, and which of them are in user code. Any thread."""
    now = monotonic()
    rows: list[tuple[float, int, Link]] = []
    decoding: set[int] = set()
    for link in list(links):  # the loop changes them: this is the consumer's thread
        rows += [(since, ticket, link) for ticket, since in dict(link.outstanding.get(stream, {})).items()]
        with contextlib.suppress(ValueError):  # buried meanwhile
            decoding |= {ticket for number, ticket in link.board.suspects() if number == stream}
    if not rows:
        up = sum(link.is_up for link in links)
        return f"nothing is in flight; {up} of {workers} worker processes are up"
    rows.sort(key=lambda row: (row[1] not in decoding, row[0]))
    parts = [
        f"{shown_key(key_of(ticket))} "
        f"({'decode' if ticket in decoding else 'fetch'} in process {link.pid}, {now - since:.1f} s)"
        for since, ticket, link in rows[:most]
    ]
    return f"{len(rows)} in flight, the oldest: " + ", ".join(parts)
