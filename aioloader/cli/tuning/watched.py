"""The real loader with every knob at "auto", and what it says of its run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aioloader.cli.tuning.consuming import read_for
from aioloader.loader import Loader
from aioloader.tune.verdict import steady_span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.cli.decode_option import Decoding
    from aioloader.dataset.samples import Dataset
    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.stats import LoaderStats
    from aioloader.monitor.timeline import Settings, Span, Timeline
    from aioloader.monitor.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One run. ``ran_with`` are the knobs of its latter half, ``wished`` those the loader would go on with; ``span`` is
    the latest steady part, None where it was too short. ``memory_bytes`` is the most that batches and bodies take."""

    ran_with: Settings
    wished: Settings
    changes: Sequence[KnobChange]
    verdict: Verdict
    stats: LoaderStats
    timeline: Timeline = field(repr=False)
    span: Span | None
    memory_bytes: int

    @property
    def samples_per_s(self) -> float:
        """In the steady part, or of all."""
        return self.stats.samples_per_s if self.span is None else self.span.samples_per_s

    @property
    def in_flight(self) -> float:
        """Requests on average, in the latter half of the steady part: before it the queue was filled."""
        late = None if self.span is None else self.timeline.latest(self.span.seconds / 2)
        return 0.0 if late is None else late.in_flight

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        begun_s = self.timeline.moments[0].at_s if len(self.timeline) else 0.0
        return {
            "samples_per_s": self.samples_per_s,
            "seconds": self.stats.elapsed_s,
            "samples": self.stats.samples,
            "skipped": self.stats.skipped,
            "in_flight": self.in_flight,
            "data_wait_share": self.stats.data_wait_share,
            "first_batch_s": self.stats.first_batch_s,
            "request_p50_s": self.stats.fetch.p50_s,
            "request_p99_s": self.stats.fetch.p99_s,
            "memory_bytes": self.memory_bytes,
            "settings": knobs_of(self.wished),
            "changes": [
                {"at_s": change.at_s - begun_s, "knob": change.knob, "value": change.value, "reason": change.reason}
                for change in self.changes
            ],
            "verdict": self.verdict.as_dict(),
        }


def knobs_of(settings: Settings) -> dict[str, int | bool]:
    """As `aioloader.Loader` takes them."""
    return {
        "concurrency": settings.concurrency,
        "workers": settings.workers,
        "use_multiprocessing": settings.use_multiprocessing,
        "max_queue_size": settings.max_queue_size,
    }


def loader_of(data: Dataset, made: Decoding, batch_size: int, **knobs: int | bool) -> Loader:
    """One that is not stopped by a few samples that fail."""
    options: dict[str, Any] = knobs
    return Loader(
        data,
        decode=made.decode,
        spec=made.spec,
        batch_size=batch_size,
        on_error="skip",
        max_error_rate=_MOST_FAILING,
        **options,
    )


_MOST_FAILING = 0.2


def watch(
    loader: Loader, seconds: float, step_time_s: float, tick: Callable[[], None], keep: Callable[[Watched], None]
) -> None:
    """Read for ``seconds``; ``keep`` is told what is known in the end, after Ctrl-C too."""
    try:
        read_for(loader, seconds, step_time_s, tick)
    finally:
        if loader.stats().batches:
            keep(_seen(loader))


def _seen(loader: Loader) -> Watched:
    timeline = loader.timeline
    return Watched(
        ran_with=held_settings(timeline) or loader.settings,
        wished=loader.settings,
        changes=loader.changes,
        verdict=loader.verdict(),
        stats=loader.stats(),
        timeline=timeline,
        span=steady_span(timeline),
        memory_bytes=loader.memory_bound(),
    )


def held_settings(timeline: Timeline) -> Settings | None:
    """The settings at the end, with the requests that were held longest in the latter half: the last number may be one
    that is just being tried. None before two moments."""
    spans = list(timeline.spans())
    if not spans:
        return None
    end = spans[-1].last
    seconds: dict[int, float] = defaultdict(float)
    for span in spans:
        settings = span.last.settings
        if span.last.active_s >= end.active_s / 2 and replace(settings, concurrency=0) == replace(
            end.settings, concurrency=0
        ):
            seconds[settings.concurrency] += span.seconds
    return replace(end.settings, concurrency=max(seconds, key=lambda concurrency: seconds[concurrency]))
