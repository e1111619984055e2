"""A latency histogram with log-spaced buckets: constant memory, no work that grows with the window."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FLOOR_S = 1e-6
_PER_OCTAVE = 8
BUCKETS = 32 * _PER_OCTAVE  # 1 µs to 71 minutes, each bucket 9 % wide


@dataclass(frozen=True, slots=True)
class Bin:
    """How many durations lay from ``low`` up to ``high``."""

    low: float
    high: float
    count: int


def bucket_end_s(index: int) -> float:
    """Seconds that all durations in bucket ``index`` are below; the last has no end."""
    return _FLOOR_S * 2 ** ((index + 1) / _PER_OCTAVE) if index < BUCKETS - 1 else inf


class LatencyHistogram:
    """Durations in seconds. Not locked: each instance is written by one thread at a time."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.count = 0
        self.total_s = 0.0
        self.max_s = 0.0

    def record(self, duration_s: float) -> None:
        """Count one duration."""
        octaves = log2(duration_s / _FLOOR_S) if duration_s > _FLOOR_S else 0.0
        self.counts[min(int(octaves * _PER_OCTAVE), BUCKETS - 1)] += 1
        self.count += 1
        self.total_s += duration_s
        if duration_s > self.max_s:
            self.max_s = duration_s

    def record_all(self, durations_s: Iterable[float]) -> None:
        """Count many, as a batch's worth: half of what `record` takes for each."""
        counts, count, total_s, max_s = self.counts, 0, 0.0, self.max_s
        for duration_s in durations_s:
            octaves = log2(duration_s / _FLOOR_S) if duration_s > _FLOOR_S else 0.0
            counts[min(int(octaves * _PER_OCTAVE), BUCKETS - 1)] += 1
            count += 1
            total_s += duration_s
            max_s = max(max_s, duration_s)
        self.count += count
        self.total_s += total_s
        self.max_s = max_s

    def add(self, counts: Sequence[int], total_s: float, max_s: float) -> None:
        """Add another histogram's figures."""
        for index, count in enumerate(counts):
            self.counts[index] += count
        self.count += sum(counts)
        self.total_s += total_s
        self.max_s = max(self.max_s, max_s)

    def copy(self) -> LatencyHistogram:
        """What it holds now; its sums agree, whoever writes meanwhile."""
        copied = LatencyHistogram()
        copied.total_s, copied.max_s = self.total_s, self.max_s
        copied.counts = self.counts.copy()
        copied.count = sum(copied.counts)
        return copied

    def since(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """What came after ``earlier``, a copy of it; the longest is known only to the width of a bucket."""
        later = LatencyHistogram()
        later.counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        later.count = sum(later.counts)
        later.total_s = max(self.total_s - earlier.total_s, 0.0)
        last = next((index for index in reversed(range(BUCKETS)) if later.counts[index]), None)
        later.max_s = 0.0 if last is None else min(bucket_end_s(last), self.max_s)
        return later

    def below(self, octave: int) -> int:
        """How many took less than 2 to the power of ``octave`` microseconds; exact."""
        return sum(self.counts[: octave * _PER_OCTAVE])

    def quantile(self, share: float) -> float:
        """The duration that ``share`` (0 to 1) of all stay below, within 5 %; 0.0 while empty."""
        if self.count == 0:
            return 0.0
        wanted, seen = share * self.count, 0
        for index, count in enumerate(self.counts[:-1]):  # the last bucket has no upper end
            seen += count
            if seen >= wanted and count:
                middle = _FLOOR_S * 2 ** ((index + 0.5) / _PER_OCTAVE)
                return min(middle, self.max_s)
        return self.max_s

    def bins(self, per_octave: int = 4) -> tuple[Bin, ...]:
        """What was counted, from the first to the last bin that holds anything; 1, 2, 4 or 8 bins ``per_octave``.

        What took less than a microsecond is counted in the first of all bins, what took more than 71 minutes in the
        last.
        """
        merged = _PER_OCTAVE // per_octave
        counts = [sum(self.counts[index : index + merged]) for index in range(0, BUCKETS, merged)]
        held = [index for index, count in enumerate(counts) if count]
        if not held:
            return ()
        edges = [_FLOOR_S * 2 ** (index / per_octave) for index in range(len(counts) + 1)]
        return tuple(Bin(edges[index], edges[index + 1], counts[index]) for index in range(held[0], held[-1] + 1))
