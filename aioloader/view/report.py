"""The figures as text that a person reads after a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aioloader.monitor.stats import STOPPED_DISK_FULL, STOPPED_FULL
from aioloader.units import human_bytes, human_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.stats import CacheCounts, EngineStats, LoaderStats
    from aioloader.monitor.verdict import Verdict


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _processes(engine: EngineStats) -> str:
    text = f"{engine.processes} up after {human_time(engine.start_s)}, {human_bytes(engine.rss_bytes)} each"
    if engine.imports:
        named = ", ".join(f"{name} ({human_time(seconds)})" for name, seconds in engine.imports.items())
        text += f"; your code imports {named} in each of them"
    return text + (f"; {_count(engine.deaths, 'death')}" if engine.deaths else "")


_SHOWN_CHANGES = 3


def _cache(counts: CacheCounts, next_share: float | None) -> str:
    text = f"{counts.hit_share:.0%} of {_count(counts.lookups, 'look-up')} found ({human_bytes(counts.hit_bytes)}), "
    text += f"{counts.written:,} written"
    if next_share is not None:
        text += f"; of the next epoch about {next_share:.0%}"
    if counts.stopped:
        stopped = {STOPPED_FULL: "full", STOPPED_DISK_FULL: "full: 5% of the disk stays free"}
        text += f"; {stopped.get(counts.stopped) or 'nothing more is written: ' + _system_error(counts.stopped)}"
    if counts.dropped:
        text += f"; {counts.dropped:,} not written: the disk is slower than the store"
    if counts.bad:
        text += f"; {counts.bad:,} spoilt, fetched again"
    return text


def _system_error(number: int) -> str:
    return os.strerror(number) if number > 0 else "see the log"


def render(
    stats: LoaderStats,
    knobs: Mapping[str, str],
    source: str,
    changes: Sequence[KnobChange] = (),
    next_cached_share: float | None = None,
    verdict: Verdict | None = None,
    keras: str = "",
) -> str:
    """The report: what was read, how fast, who waited, what the knobs were, and why they were changed.

    ``verdict`` is what limits, ``keras`` the numbers that would do the same there. ``next_cached_share`` is what the
    next epoch will find in the cache, as far as it is known.
    """
    if stats.batches == 0:
        return f"aioloader: no batch was read yet from {source}"
    fetch, decode = stats.fetch, stats.decode
    failed = fetch.failed + decode.failed
    lines = [
        f"aioloader: {_count(stats.samples, 'sample')} in {_count(stats.batches, 'batch')} from {source}",
        f"  throughput   {stats.samples_per_s:,.0f} samples/s over {human_time(stats.elapsed_s)}, "
        f"{human_bytes(stats.bytes_fetched)} fetched; first batch after {human_time(stats.first_batch_s)}",
        f"  data wait    {human_time(stats.data_wait_s)}, {stats.data_wait_share:.0%} of the time",
        f"  fetch        p50 {human_time(fetch.p50_s)}, p99 {human_time(fetch.p99_s)}; "
        f"{stats.in_flight_peak} in flight at most",
        f"  decode       p50 {human_time(decode.p50_s)}, p99 {human_time(decode.p99_s)}",
        f"  batch queue  occupied {stats.occupancy:.0%} of the time, {stats.queue_mean:.1f} batches on average; "
        f"{human_bytes(stats.slab_bytes)} of slabs",
    ]
    if verdict is not None:
        lines.insert(1, f"  limit        {verdict.sentence}")
    engine = stats.engine
    lag = engine.loop_lag
    lines.append(f"  event loop   late by p99 {human_time(lag.p99_s)}, at most {human_time(lag.max_s)}")
    if engine.processes:
        lines.append("  processes    " + _processes(engine))
    if failed or stats.skipped:
        lines.append(f"  errors       {failed} samples failed, {stats.skipped} stand-ins delivered")
    lines += [f"  auto         {change.knob}={change.value}: {change.reason}" for change in changes[-_SHOWN_CHANGES:]]
    requests = engine.requests
    if requests.hedged:
        lines.append(
            f"  hedging      {requests.hedged:,} late requests made twice; "
            f"{requests.hedges_won:,} second ones were answered first"
        )
    if requests.retries:
        lines.append(
            f"  requests     {requests.retries:,} repeated ({requests.throttled:,} of them refused by 429 or 503), "
            f"{requests.resumed:,} bodies resumed"
        )
    if requests.refreshed:
        lines.append(f"  credentials  renewed {_count(requests.refreshed, 'time')} after the store refused them")
    if stats.cache.lookups:
        lines.append("  cache        " + _cache(stats.cache, next_cached_share))
    if stats.private_copies:
        lines.append(f"  copies       {stats.private_copies} batches copied: more were held than the ring has")
    if keras:
        lines.append(f"  in Keras     {keras}")
    lines.append("  knobs        " + ", ".join(f"{name}={value}" for name, value in knobs.items()))
    return "\n".join(lines)
