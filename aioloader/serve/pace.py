"""Waiting on the loop's clock: until a time, and for a share of the line."""

from __future__ import annotations

import asyncio

CHUNK_BYTES = 256 * 1024
"""The most that is read from a file and written to a connection at once."""


async def sleep_until(deadline_s: float) -> None:
    """Return at ``deadline_s`` of the loop's clock or after it, never before."""
    loop = asyncio.get_running_loop()
    # uvloop's timers count whole milliseconds and may ring up to one early: look again.
    while (left_s := deadline_s - loop.time()) > 0:  # noqa: ASYNC110 (time has no event)
        await asyncio.sleep(left_s)


class SharedLine:
    """One line of ``bytes_per_s`` that all answers send over, in turns; None is a line without limit."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at_s = 0.0

    @property
    def piece_bytes(self) -> int:
        """What one answer may send in a turn: 20 ms of the line, so that all of them move."""
        if self._bytes_per_s is None:
            return CHUNK_BYTES
        return min(CHUNK_BYTES, max(1024, int(self._bytes_per_s / 50)))

    async def carry(self, size_bytes: int) -> None:
        """Wait until ``size_bytes`` more have passed, after all that asked before."""
        if self._bytes_per_s is None:
            return
        start_s = max(self._free_at_s, asyncio.get_running_loop().time())
        self._free_at_s = start_s + size_bytes / self._bytes_per_s
        await sleep_until(self._free_at_s)
