"""What a loader had counted at moments of its run: sums, so that any two of them make a span by subtraction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEPT: Final = 512
"""Moments; when there are more every second one is left out, so a long run is remembered more coarsely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The four knobs as numbers: requests in flight, decoders in parallel, whether these are processes, and finished
    batches that may wait."""

    concurrency: int
    workers: int
    use_multiprocessing: bool
    max_queue_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Everything counted by ``at_s`` (monotonic seconds). All but ``at_s``, ``queued``, ``waiting``, ``in_flight`` and
    ``settings`` are sums since the loader was made; times in seconds.

    ``active_s`` is how long streams were open. ``data_wait_s`` is the consumer's waiting. ``fetched`` samples took
    ``fetch_s`` in all, ``decoded`` ones ``decode_s`` (of the decoders' time, waiting for the GIL or a core included).
    ``in_flight`` requests are on the wire now, ``waiting`` samples are fetched and not decoded; ``in_flight_seen``
    sums what was in flight when each sample came.
    ``queue_s`` is the time with a finished batch in the queue, ``queued_s`` batches times seconds; ``queued`` are
    there now. CPU: ``decode_cpu_s`` of this process's decode threads, ``loop_cpu_s`` of its loop, ``process_cpu_s`` of
    all of it; ``child_decode_cpu_s`` and ``child_loop_cpu_s`` of the worker processes; ``idle_s`` is what all cores
    that this process may use had to spare (0 where the system does not tell). ``beats`` are looks at the stream; at
    ``full_beats`` of them the queue was full, at ``blocked_beats`` fetching waited for the byte budget. Timers of the
    loops that fetch were late by ``lag_s`` in ``lags`` times. The rest are requests and look-ups in the cache.
    """

    at_s: float
    active_s: float
    settings: Settings
    batches: int = 0
    samples: int = 0
    data_wait_s: float = 0.0
    fetched: int = 0
    fetch_s: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    in_flight_seen: int = 0
    bytes_fetched: int = 0
    decoded: int = 0
    decode_s: float = 0.0
    queued: int = 0
    queue_s: float = 0.0
    queued_s: float = 0.0
    decode_cpu_s: float = 0.0
    loop_cpu_s: float = 0.0
    process_cpu_s: float = 0.0
    child_decode_cpu_s: float = 0.0
    child_loop_cpu_s: float = 0.0
    idle_s: float = 0.0
    lags: int = 0
    lag_s: float = 0.0
    beats: int = 0
    full_beats: int = 0
    blocked_beats: int = 0
    answered: int = 0
    throttled: int = 0
    retries: int = 0
    troubles: int = 0
    hedged: int = 0
    failed: int = 0
    cache_hits: int = 0
    cache_misses: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """What happened between two moments. Rates are per second of open streams; shares are 0 to 1."""

    first: Moment
    last: Moment

    @property
    def seconds(self) -> float:
        """Of open streams."""
        return self.last.active_s - self.first.active_s

    def count(self, name: str) -> float:
        """By how much the sum ``name`` grew."""
        return float(getattr(self.last, name) - getattr(self.first, name))

    def per_s(self, name: str) -> float:
        """``count`` a second: for seconds of something, how many were at it on average."""
        return max(self.count(name), 0.0) / self.seconds if self.seconds > 0 else 0.0

    @property
    def samples_per_s(self) -> float:
        """Samples the consumer got."""
        return self.per_s("samples")

    @property
    def data_wait_share(self) -> float:
        """Of the time the consumer waited; at most 1."""
        return min(self.per_s("data_wait_s"), 1.0)

    @property
    def in_flight(self) -> float:
        """Requests in flight on average: by Little's law, the sum of their seconds a second."""
        return self.per_s("fetch_s")

    @property
    def busy_lanes(self) -> float:
        """Decoders at work on average."""
        return self.per_s("decode_s")

    @property
    def fetch_mean_s(self) -> float:
        """Seconds a fetch took on average; 0 without one."""
        fetched = self.count("fetched")
        return self.count("fetch_s") / fetched if fetched else 0.0

    @property
    def decode_mean_s(self) -> float:
        """Seconds a decode took on average; 0 without one."""
        decoded = self.count("decoded")
        return self.count("decode_s") / decoded if decoded else 0.0

    @property
    def lag_mean_s(self) -> float:
        """How late the loops that fetch ran their timers on average: what holders of the GIL do to them."""
        lags = self.count("lags")
        return max(self.count("lag_s"), 0.0) / lags if lags > 0 else 0.0

    @property
    def occupancy(self) -> float:
        """Share of the time with a finished batch in the queue."""
        return min(self.per_s("queue_s"), 1.0)

    def beat_share(self, name: str) -> float:
        """Share of the looks that found ``name``: ``"full_beats"`` or ``"blocked_beats"``."""
        beats = self.count("beats")
        return self.count(name) / beats if beats else 0.0


class Timeline:
    """The moments of one loader, oldest first; bounded. Added to by one thread; any may read."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._moments: list[Moment] = []

    def add(self, moment: Moment) -> None:
        """The next one."""
        moments = self._moments
        if len(moments) >= self._kept:
            # The first stays: sums are taken from it. A new list, for who is reading the old one.
            self._moments = moments = moments[::2]
        moments.append(moment)

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def moments(self) -> Sequence[Moment]:
        """All of them."""
        return tuple(self._moments)

    def spans(self) -> Iterator[Span]:
        """From each moment to the next."""
        moments = self.moments
        for first, last in pairwise(moments):
            yield Span(first, last)

    def since(self, at_s: float) -> Timeline:
        """A timeline of its own with the moments from ``at_s`` (monotonic seconds) on."""
        part = Timeline(self._kept)
        part._moments = [moment for moment in self.moments if moment.at_s >= at_s]
        return part

    def latest(self, seconds: float) -> Span | None:
        """What happened in the last ``seconds`` of open streams, or in all of them; None before two moments."""
        moments = self.moments
        if len(moments) < 2:
            return None
        last = moments[-1]
        first = next((known for known in reversed(moments) if last.active_s - known.active_s >= seconds), moments[0])
        return Span(first, last)
