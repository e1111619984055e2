"""What a loader has counted: mutable counters inside, frozen records outside."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from aioloader.monitor.histogram import Bin, LatencyHistogram
from aioloader.monitor.occupancy import Occupancy
from aioloader.monitor.recorder import Recorder
from aioloader.monitor.slowest import Slowest, SlowSample
from aioloader.monitor.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStats:
    """One stage: how many samples passed, how many failed, and how long each took (seconds); ``bins`` say how many took
    how long."""

    count: int
    failed: int
    total_s: float
    p50_s: float
    p99_s: float
    max_s: float
    bins: tuple[Bin, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class RequestCounts:
    """What became of requests to a store: those that were repeated, the refusals (429, 503) among what they were
    repeated for, the bodies of which only the rest was asked for, the connections that failed or stood still; those
    that were late and made a second time, and how many of these were answered first; credentials that were renewed
    because a store had refused them; and all that were answered well."""

    retries: int = 0
    throttled: int = 0
    resumed: int = 0
    troubles: int = 0
    hedged: int = 0
    hedges_won: int = 0
    refreshed: int = 0
    answered: int = 0

    def add(self, other: RequestCounts) -> None:
        """Add another's."""
        for count in fields(self):
            setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))


STOPPED_FULL, STOPPED_DISK_FULL, STOPPED_OTHERWISE = -1, -2, -3
"""Why nothing more is kept in a cache, beside the numbers that the system gives its errors."""


@dataclass(slots=True)
class CacheCounts:
    """What became of look-ups in the cache, and of what was to be kept.

    ``hits`` were found, ``hit_bytes`` of them in all; ``misses`` were fetched. ``written`` entries are new,
    ``bad`` ones were found spoilt, removed and fetched again, ``dropped`` ones not written because the disk was slower
    than the store. ``stopped`` says why nothing more is written: 0 while it is, the number of the system's
    error, or one of `STOPPED_FULL`, `STOPPED_DISK_FULL`, `STOPPED_OTHERWISE`.
    """

    hits: int = 0
    hit_bytes: int = 0
    misses: int = 0
    written: int = 0
    written_bytes: int = 0
    bad: int = 0
    dropped: int = 0
    stopped: int = 0

    def add(self, other: CacheCounts) -> None:
        """Add another's; one that has stopped is enough to say so."""
        self.hits += other.hits
        self.hit_bytes += other.hit_bytes
        self.misses += other.misses
        self.written += other.written
        self.written_bytes += other.written_bytes
        self.bad += other.bad
        self.dropped += other.dropped
        self.stopped = other.stopped or self.stopped

    @property
    def lookups(self) -> int:
        """Samples that were looked for."""
        return self.hits + self.misses

    @property
    def hit_share(self) -> float:
        """Of the look-ups, 0 to 1."""
        return self.hits / self.lookups if self.lookups else 0.0


class CountCache(Protocol):
    """Adds to somebody's counts, on the loop that fetches; ``resumed`` takes back what ``stopped`` said."""

    def __call__(self, some: CacheCounts, *, resumed: bool = False) -> None:
        """Add ``some``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """The process's event loops and worker processes, which all loaders share.

    ``loop_lag`` is how late fetching loops ran their timers: what decoders that hold the GIL do to fetching.
    ``requests`` are those to the loader's origin (with worker processes: to all origins), ``cache`` is the loader's
    (with worker processes: of all loaders). ``processes`` are up now
    (of a closed loader: were, at its end), ``deaths`` ended by themselves or were killed and were replaced.
    ``start_s`` is how long the slowest took to come up, ``rss_bytes`` the largest's memory after it had loaded the
    user's code, ``imports`` which heavy libraries that code brought in, with the seconds it took.
    """

    loop_lag: StageStats
    requests: RequestCounts = field(default_factory=RequestCounts)
    cache: CacheCounts = field(default_factory=CacheCounts)
    processes: int = 0
    deaths: int = 0
    start_s: float = 0.0
    rss_bytes: int = 0
    imports: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStats:
    """A loader's figures since it was opened. Times in seconds, sizes in bytes.

    ``samples`` and ``batches`` count what the consumer received, ``skipped`` the stand-ins among them.
    ``elapsed_s`` is from the first request for a batch to the last batch received, ``data_wait_s`` the part of it the
    consumer spent waiting. ``occupancy`` is the share of time at least one finished batch was queued,
    ``queue_mean`` their mean number. ``in_flight`` counts requests on the wire now, ``in_flight_peak`` at most.
    ``slowest`` are the samples whose bytes took longest to come.
    """

    epochs: int
    batches: int
    samples: int
    skipped: int
    bytes_fetched: int
    elapsed_s: float
    data_wait_s: float
    first_batch_s: float
    fetch: StageStats
    decode: StageStats
    occupancy: float
    queue_mean: float
    queue_peak: int
    in_flight: int
    in_flight_peak: int
    private_copies: int
    slab_bytes: int
    engine: EngineStats
    slowest: tuple[SlowSample, ...] = ()

    @property
    def cache(self) -> CacheCounts:
        """The engine's."""
        return self.engine.cache

    @property
    def samples_per_s(self) -> float:
        """Samples received a second of ``elapsed_s``."""
        return self.samples / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def data_wait_share(self) -> float:
        """Share of ``elapsed_s`` that the consumer waited for data, 0 to 1."""
        return self.data_wait_s / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(slots=True)
class Stage:
    """Counters of one stage; written by one thread at a time."""

    failed: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)

    def freeze(self) -> StageStats:
        """The record of now."""
        return freeze_latency(self.latency, self.failed)


def freeze_latency(latency: LatencyHistogram, failed: int = 0) -> StageStats:
    """The record of a histogram as it is now."""
    return StageStats(
        count=latency.count,
        failed=failed,
        total_s=latency.total_s,
        p50_s=latency.quantile(0.5),
        p99_s=latency.quantile(0.99),
        max_s=latency.max_s,
        bins=latency.bins(),
    )


@dataclass(slots=True)
class Counters:
    """What the engine writes. ``fetch`` and ``slowest`` belong to the loop's thread, the rest to the consumer's."""

    fetch: Stage = field(default_factory=Stage)
    slowest: Slowest = field(default_factory=Slowest)
    decode: Stage = field(default_factory=Stage)
    queue: Occupancy = field(default_factory=Occupancy)
    epochs: int = 0
    batches: int = 0
    samples: int = 0
    skipped: int = 0
    bytes_fetched: int = 0
    data_wait_s: float = 0.0
    first_batch_s: float = 0.0
    in_flight: int = 0
    in_flight_peak: int = 0
    in_flight_seen: int = 0
    """The sum, over all samples fetched, of how many requests were in flight when each came."""
    private_copies: int = 0
    slab_bytes: int = 0
    decoded: int = 0
    decode_s: float = 0.0
    """As soon as each is done; ``decode`` hears of those of a step with its delivery."""
    active_s: float = 0.0
    """Seconds of open streams."""
    beats: int = 0
    full_beats: int = 0
    blocked_beats: int = 0
    used: dict[str, float] = field(default_factory=dict)
    """By the names of a `Moment`: CPU, lateness, requests and look-ups while streams were open."""
    timeline: Timeline = field(default_factory=Timeline)
    recorder: Recorder = field(default_factory=Recorder)
    _first_asked: float | None = None
    _last_received: float = 0.0
    _working_since: float = 0.0
    _asked_s: float | None = None

    def asked(self) -> float:
        """The consumer asks for a batch; returns the time."""
        now = monotonic()
        if self._first_asked is None:
            self._first_asked = now
            self.queue.restart()
        else:
            self.recorder.computing.record(self._working_since, now)
        self._working_since = now  # where no batch comes, at the end of an epoch
        self._asked_s = now
        return now

    def answered(self) -> None:
        """The consumer does not wait any more, whether it got a batch or none."""
        self._asked_s = None

    def waited_s(self) -> float:
        """``data_wait_s``, with what the consumer waits for now; any thread."""
        data_wait_s, asked_s = self.data_wait_s, self._asked_s
        return data_wait_s if asked_s is None else data_wait_s + max(monotonic() - asked_s, 0.0)

    def received(self, asked_at: float, samples: int, skipped: int) -> None:
        """The consumer got a batch it had asked for at ``asked_at``."""
        now = monotonic()
        waited = now - asked_at
        self._asked_s = None
        self.data_wait_s += waited
        if self.batches == 0:
            self.first_batch_s = waited
        self.batches += 1
        self.samples += samples
        self.skipped += skipped
        self._last_received = self._working_since = now
        self.recorder.waiting.record(asked_at, now)

    def freeze(self, engine: EngineStats | None = None) -> LoaderStats:
        """The record of now, with what the engine knows of itself."""
        elapsed = self._last_received - self._first_asked if self._first_asked is not None else 0.0
        return LoaderStats(
            epochs=self.epochs,
            batches=self.batches,
            samples=self.samples,
            skipped=self.skipped,
            bytes_fetched=self.bytes_fetched,
            elapsed_s=max(elapsed, 0.0),
            data_wait_s=self.data_wait_s,
            first_batch_s=self.first_batch_s,
            fetch=self.fetch.freeze(),
            decode=self.decode.freeze(),
            occupancy=self.queue.share(),
            queue_mean=self.queue.mean(),
            queue_peak=self.queue.peak,
            in_flight=self.in_flight,
            in_flight_peak=self.in_flight_peak,
            private_copies=self.private_copies,
            slab_bytes=self.slab_bytes,
            engine=engine or EngineStats(loop_lag=freeze_latency(LatencyHistogram())),
            slowest=self.slowest.samples,
        )
