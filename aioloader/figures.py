"""What a loader says of itself: figures, the verdict, the report, a trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from aioloader.engine.shared import process_body_bytes
from aioloader.engine.stall_trace import trace_of
from aioloader.monitor.snapshot import Snapshot
from aioloader.storage.cache.admission import WAITING_BYTES
from aioloader.tune.keras_numbers import in_words
from aioloader.tune.knobs import describe
from aioloader.tune.limit import Facts
from aioloader.tune.load import Load
from aioloader.tune.verdict import judge, startup, steady_span
from aioloader.view.report import render
from aioloader.view.whole_file import write_whole

if TYPE_CHECKING:
    import os

    from aioloader.dataset.samples import Dataset
    from aioloader.engine.job import Job
    from aioloader.engine.session import Session
    from aioloader.monitor.cache_forecast import CacheForecast
    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.stats import LoaderStats
    from aioloader.monitor.timeline import Settings, Timeline
    from aioloader.monitor.verdict import Verdict
    from aioloader.tune.tuner import Tuner

_QUICK_SHARE: Final = 0.05
"""Of the requests so many were quicker than what counts as an idle store's latency."""


class Figures:
    """The part of a loader that only looks; the loader sets the attributes."""

    _data: Dataset
    _session: Session
    _tuner: Tuner
    _knobs: dict[str, str]
    """What the report says of the options that nothing changes."""
    _forecast: CacheForecast | None
    _is_remote: bool

    @property
    def _job(self) -> Job:
        return self._session.job

    def stats(self) -> LoaderStats:
        """The figures of now, as a frozen record."""
        return self._job.counters.freeze(self._session.engine_stats())

    def verdict(self, *, since_s: float = 0.0) -> Verdict:
        """The one thing that limits the run as it was in its latest seconds, and the knob that moves it.

        What was before ``since_s`` (on the clock of `time.monotonic`) does not count, unless it is all there is.
        """
        stats, counters = self.stats(), self._job.counters
        span = steady_span(counters.timeline.since(since_s)) or steady_span(counters.timeline)
        if span is None:
            return startup(stats.first_batch_s, stats.batches, stats.samples_per_s)
        facts = Facts(
            load=Load(span, self._tuner.cores, self._tuner.granted),
            batch_size=self._job.plan.batch_size,
            fixed=self._tuner.fixed,
            first_batch_s=stats.first_batch_s,
            quick_fetch_s=counters.fetch.latency.quantile(_QUICK_SHARE),
            is_local=not self._is_remote,
            more_was_tried=self._tuner.concurrency_is_found,
            refused=self._tuner.processes_refused,
        )
        return judge(facts)

    @property
    def timeline(self) -> Timeline:
        """What had been counted at moments of the run, four a second or more coarsely; at most 512."""
        return self._job.counters.timeline

    def report(self) -> str:
        """The figures of now as text: the verdict, throughput, who waited, fetch and decode times, the knobs."""
        stats = self.stats()
        next_share = None if self._forecast is None else self._forecast.share(stats.cache)
        verdict = self.verdict()
        keras = in_words(verdict.keras, self._job.plan.batch_size)
        return render(stats, self._shown_knobs(), self._data.store.location, self.changes, next_share, verdict, keras)

    def snapshot(self, *, since_s: float = 0.0) -> Snapshot:
        """All that is shown of a loader, as it is now, in one frozen record; ``since_s`` as in `verdict`."""
        counters, verdict = self._job.counters, self.verdict(since_s=since_s)
        return Snapshot(
            at_s=time.monotonic(),
            source=self._data.store.location,
            knobs=self._shown_knobs(),
            settings=self.settings,
            stats=self.stats(),
            verdict=verdict,
            keras=in_words(verdict.keras, self._job.plan.batch_size),
            timeline=counters.timeline.since(0.0),
            changes=self.changes,
            fetch=counters.fetch.latency.copy(),
            decode=counters.decode.latency.copy(),
            decoded=counters.decoded,
            decode_s=counters.decode_s,
            queued=counters.queue.length,
            queue_s=counters.queue.busy_s(),
            queued_s=counters.queue.area_s(),
        )

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write what was done so far to ``path``, for Perfetto (ui.perfetto.dev) or ``chrome://tracing``.

        A lane a stage (fetch, decode, the batch queue, the consumer) with some of the samples, at most one at a time
        and one in two milliseconds; requests in flight, queued batches and samples a second; and the changes of knobs
        with their reasons. The latest thousand spans of each lane are there, of older ones fewer. Raises OSError where
        the file cannot be written.
        """
        write_whole(path, trace_of(self._job, about=self._shown_knobs()))

    def _shown_knobs(self) -> dict[str, str]:
        return {**describe(self._tuner.settings, self._tuner.fixed), **self._knobs}

    @property
    def settings(self) -> Settings:
        """The four knobs as they are now: what the user has set, and what measurement has come to."""
        return self._tuner.settings

    @property
    def changes(self) -> tuple[KnobChange, ...]:
        """What measurement has made of the knobs that are "auto", and why; the last 128 changes."""
        return tuple(self._tuner.changes)

    def memory_bound(self) -> int:
        """Bytes that batches and fetched bodies take at most: two rings of slabs, the body budget, and with ``cache``
        64 MB in each process for bodies on their way to disk.

        Known once the fields are: declared by the decoder, or after the first sample; 0 before. Batches the caller
        keeps beyond the ring are private copies and come on top, and so does what decoders take while they work: for
        pictures 3 to 6 bytes a pixel of the largest file, for each of the ``workers``; and up to 8 MiB for bodies that
        are fetched twice because the first request is late.
        """
        slab_bytes, options = self._job.workspace.bound_bytes, self._job.options
        writers = options.workers if options.use_multiprocessing else 1
        to_write = 0 if self._forecast is None else WAITING_BYTES * writers
        return slab_bytes and slab_bytes + (options.body_bytes or process_body_bytes()) + to_write
