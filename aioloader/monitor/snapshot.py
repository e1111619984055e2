"""A loader as it is at one time: all that callbacks, pages and scrapers show of it, in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.histogram import LatencyHistogram
    from aioloader.monitor.stats import LoaderStats
    from aioloader.monitor.timeline import Settings, Timeline
    from aioloader.monitor.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Taken at ``at_s`` (monotonic seconds). Two of them make an interval by subtraction (`interval.figures`).

    ``source`` is where the data comes from, without secrets; ``knobs`` are the options by name, as text, and
    ``settings`` the four that measurement may change. ``keras`` are the numbers of Keras' own loader that would do the
    same as the verdict's, in words. ``fetch`` and ``decode`` are copies of the histograms behind
    the stages of ``stats``, ``timeline`` one of the moments. ``queued`` finished batches wait now; ``queue_s`` is the
    time with at least one of them, ``queued_s`` batches times seconds. ``decode_s`` are seconds of decoding of all
    ``decoded`` samples, those of batches that were not delivered yet included.
    """

    at_s: float
    source: str
    knobs: Mapping[str, str]
    settings: Settings
    stats: LoaderStats
    verdict: Verdict
    keras: str
    timeline: Timeline
    changes: tuple[KnobChange, ...]
    fetch: LatencyHistogram
    decode: LatencyHistogram
    decoded: int
    decode_s: float
    queued: int
    queue_s: float
    queued_s: float
