"""How requests and bytes are divided among worker processes: arithmetic alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from aioloader.engine.processes.pool_stream import PoolStream


def shares(streams: Collection[PoolStream], processes: int) -> list[dict[str, Any]]:
    """What each of ``processes`` may hold: requests by origin and by stream, and bytes of bodies in all and by stream.

    The shares of those that are starting are kept for them: handed to others they could not be taken back before
    the requests in flight have ended, and there would be more than the user allowed.
    """
    body_bytes = max((stream.body_bytes for stream in streams), default=1)
    by_stream = {stream.number: stream_shares(stream, processes) for stream in streams}
    origins: dict[str, list[PoolStream]] = {}
    for stream in streams:
        origins.setdefault(stream.origin, []).append(stream)
    by_origin = {
        origin: trimmed(
            [max(by_stream[stream.number][place] for stream in some) for place in range(processes)],
            max(stream.concurrency for stream in some),
        )
        for origin, some in origins.items()
    }
    return [
        {
            "origins": {origin: share[place] for origin, share in by_origin.items() if share[place]},
            "streams": {number: share[place] for number, share in by_stream.items() if share[place]},
            "body_bytes": max(body_bytes // processes, 1),
            "bodies": {stream.number: stream.body_limit for stream in streams if stream.body_limit is not None},
        }
        for place in range(processes)
    ]


def stream_shares(stream: PoolStream, processes: int) -> list[int]:
    """The requests of one stream, as its own ``concurrency`` has it, for each process; 0 where none works for it."""
    own = divide(stream.concurrency, min(stream.workers, stream.concurrency))[:processes]
    return own + [0] * (processes - len(own))


def trimmed(wanted: list[int], total: int) -> list[int]:
    """``wanted`` with the largest made smaller until the sum is ``total``; nobody who wants some is left without."""
    share = list(wanted)
    while sum(share) > total and max(share) > 1:
        share[share.index(max(share))] -= 1
    return share


def divide(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` whole shares that differ by at most one, each at least 1 while that many are there."""
    each, rest = divmod(total, parts)
    return [each + (place < rest) for place in range(parts)]
