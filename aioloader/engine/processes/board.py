"""What a child writes where its parent can read it, after a death too: samples in user code, lag, counts, CPU."""

from __future__ import annotations

import mmap
import os
from dataclasses import astuple, fields
from typing import TYPE_CHECKING

from aioloader.batch.arena import anonymous_file
from aioloader.monitor.histogram import BUCKETS
from aioloader.monitor.stats import CacheCounts, RequestCounts

if TYPE_CHECKING:
    from aioloader.monitor.histogram import LatencyHistogram

LANES = 256
"""Samples in user code at once that are noted: one for a plain decoder, as many as are in flight for a coroutine."""
_FREE = -1
_LAG_PLACE = 2 * LANES
_COUNTS_PLACE = _LAG_PLACE + BUCKETS + 2
_COUNTS = len(fields(RequestCounts))
_CACHE_PLACE = _COUNTS_PLACE + _COUNTS
_CACHE_COUNTS = tuple(count.name for count in fields(CacheCounts))
_CPU_PLACE = _CACHE_PLACE + len(_CACHE_COUNTS)
_WORDS = _CPU_PLACE + 3
_NANO = 1e9


class Board:
    """Words of 64 bits in shared memory: (stream, ticket) of each lane, the histogram of the loop's lag, counts."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make it, or map the one behind ``descriptor``, which is closed."""
        new = descriptor is None
        self.descriptor = anonymous_file("aioloader-board") if descriptor is None else descriptor
        if new:
            os.ftruncate(self.descriptor, 8 * _WORDS)
        self._memory = mmap.mmap(self.descriptor, 8 * _WORDS, flags=mmap.MAP_SHARED)
        self._words = memoryview(self._memory).cast("q")
        if new:
            for lane in range(LANES):
                self._words[2 * lane] = _FREE
        else:
            os.close(self.descriptor)
        self._free = list(range(LANES))
        # No lock: the loop and the decode thread never speak of the same sample at once, and each step is one call.
        self._lane: dict[tuple[int, int], int] = {}

    # -- in the child ------------------------------------------------------------------------------------

    def enter(self, stream: int, ticket: int) -> None:
        """User code gets this sample next."""
        try:
            lane = self._lane[stream, ticket] = self._free.pop()
        except IndexError:
            return
        self._words[2 * lane + 1] = ticket
        self._words[2 * lane] = stream

    def leave(self, stream: int, ticket: int) -> None:
        """User code is done with it."""
        lane = self._lane.pop((stream, ticket), None)
        if lane is not None:
            self._words[2 * lane] = _FREE
            self._free.append(lane)

    def write_lag(self, lag: LatencyHistogram) -> None:
        """The histogram as of now."""
        for bucket, count in enumerate(lag.counts):
            self._words[_LAG_PLACE + bucket] = count
        self._words[_LAG_PLACE + BUCKETS] = int(lag.total_s * _NANO)
        self._words[_LAG_PLACE + BUCKETS + 1] = int(lag.max_s * _NANO)

    def write_counts(self, counts: RequestCounts) -> None:
        """What became of requests, as of now."""
        for place, count in enumerate(astuple(counts)):
            self._words[_COUNTS_PLACE + place] = count

    def write_cache(self, counts: CacheCounts) -> None:
        """What became of look-ups in the cache, as of now."""
        for place, name in enumerate(_CACHE_COUNTS, _CACHE_PLACE):
            self._words[place] = getattr(counts, name)

    def write_work(self, loop_s: float, decode_s: float, *, is_blocked: bool) -> None:
        """CPU seconds of the loop and of the decode threads, and whether fetching waits for the byte budget."""
        words = int(loop_s * _NANO), int(decode_s * _NANO), int(is_blocked)
        for place, word in enumerate(words, _CPU_PLACE):
            self._words[place] = word

    # -- in the parent -----------------------------------------------------------------------------------

    def suspects(self) -> list[tuple[int, int]]:
        """(stream, ticket) of every sample that was in user code."""
        words = self._words
        return [(words[2 * lane], words[2 * lane + 1]) for lane in range(LANES) if words[2 * lane] != _FREE]

    def add_lag_to(self, lag: LatencyHistogram) -> None:
        """Add the child's histogram to ``lag``."""
        counts = [self._words[_LAG_PLACE + bucket] for bucket in range(BUCKETS)]
        total_s, max_s = (self._words[_LAG_PLACE + BUCKETS + place] / _NANO for place in range(2))
        lag.add(counts, total_s, max_s)

    def add_counts_to(self, counts: RequestCounts) -> None:
        """Add the child's counts to ``counts``."""
        counts.add(RequestCounts(*self._words[_COUNTS_PLACE : _COUNTS_PLACE + _COUNTS]))

    def add_cache_to(self, counts: CacheCounts) -> None:
        """Add the child's counts to ``counts``."""
        counts.add(CacheCounts(*self._words[_CACHE_PLACE:_CPU_PLACE]))

    def work(self) -> tuple[float, float, bool]:
        """What `write_work` said last."""
        loop, decode, is_blocked = self._words[_CPU_PLACE:_WORDS]
        return loop / _NANO, decode / _NANO, bool(is_blocked)

    def close(self) -> None:
        """Unmap it; in the parent the descriptor too. Idempotent."""
        if self._memory.closed:
            return
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)
