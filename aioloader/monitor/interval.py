"""What happened between two snapshots of a loader, as the numbers that one writes down once an epoch."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioloader.monitor.snapshot import Snapshot


def figures(first: Snapshot, last: Snapshot) -> dict[str, float]:
    """By name; times in seconds, shares 0 to 1.

    ``data_wait_share`` and ``data_wait_s`` are the consumer's waiting for batches, ``samples_per_s`` what it got.
    ``occupancy`` is the share of the time with a finished batch in the queue, ``in_flight`` the requests in flight
    and ``decoders_busy`` the decoders at work on average. ``fetch_p50_s`` and ``fetch_p99_s`` are quantiles of the
    fetches that ended in between (nan without one). ``retries`` counts requests made again (of all loaders that
    read from the same store), ``skipped`` the stand-ins delivered.
    """
    seconds = last.at_s - first.at_s
    fetch = last.fetch.since(first.fetch)
    waited_s = last.stats.data_wait_s - first.stats.data_wait_s

    def per_s(amount: float) -> float:
        return max(amount, 0.0) / seconds if seconds > 0 else 0.0

    return {
        "data_wait_share": min(per_s(waited_s), 1.0),
        "data_wait_s": waited_s,
        "samples_per_s": per_s(last.stats.samples - first.stats.samples),
        # The queue counts anew from the first batch ever asked for: what it had counted before is less than nothing.
        "occupancy": min(per_s(last.queue_s - first.queue_s), 1.0),
        "in_flight": per_s(fetch.total_s),
        "decoders_busy": per_s(last.decode_s - first.decode_s),
        "fetch_p50_s": fetch.quantile(0.5) if fetch.count else nan,
        "fetch_p99_s": fetch.quantile(0.99) if fetch.count else nan,
        "retries": float(last.stats.engine.requests.retries - first.stats.engine.requests.retries),
        "skipped": float(last.stats.skipped - first.stats.skipped),
    }
