"""Waiting: until a time, and for a share of the line.

Times are of `time.monotonic`. uvloop's own clock stands still while callbacks run and counts whole milliseconds: what
waits by it comes back too early on a busy machine.
"""

from __future__ import annotations

import asyncio
import time

CHUNK_BYTES = 256 * 1024
"""The most that is read from a file and written to a connection at once."""


async def sleep_until(deadline_s: float) -> None:
    """Return at ``deadline_s`` or after it, never before."""
    while (left_s := deadline_s - time.monotonic()) > 0:  # noqa: ASYNC110 (time has no event)
        await asyncio.sleep(left_s + 0.0005)  # uvloop rounds to milliseconds: up, or it would turn on the spot


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
        start_s = max(self._free_at_s, time.monotonic())
        self._free_at_s = start_s + size_bytes / self._bytes_per_s
        await sleep_until(self._free_at_s)
