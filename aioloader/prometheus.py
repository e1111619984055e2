"""Loaders' figures for Prometheus: ``pip install 'aioloader[prometheus]'``.

::

    from prometheus_client import REGISTRY, start_http_server
    from aioloader.prometheus import LoaderCollector

    REGISTRY.register(LoaderCollector({"train": loader, "validation": other}))
    start_http_server(9400)

Nothing is counted for it: a scrape reads what the loader counts anyway.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from aioloader.errors import OptionError

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
    )
    from prometheus_client.registry import Collector
except ImportError as exc:
    raise ImportError("aioloader.prometheus needs prometheus-client: pip install 'aioloader[prometheus]'") from exc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from aioloader.loader import AsyncLoader, Loader
    from aioloader.monitor.histogram import LatencyHistogram
    from aioloader.monitor.snapshot import Snapshot

_OCTAVES: Final = range(4, 27)
"""Buckets end at 16 µs, 32 µs, ... 67 s."""

_COUNTERS: Final = {
    "samples": "Samples that the consumer received.",
    "batches": "Batches that the consumer received.",
    "epochs": "Epochs that were read to their end.",
    "skipped_samples": "Samples that failed and were stood in for.",
    "fetched_bytes": "Bytes that came from the store.",
    "data_wait_seconds": "Seconds in which the consumer waited for a batch.",
    "queue_occupied_seconds": "Seconds with at least one finished batch in the queue.",
    "retries": "Requests made again; of all loaders that read from the same store.",
    "late_requests": "Requests made a second time because the first was late; of all loaders of the store.",
}
_LABELLED_COUNTERS: Final = {
    "requests": ("What became of requests; of all loaders that read from the same store.", "outcome"),
    "failed_samples": ("Samples that failed for good.", "stage"),
    "cache_lookups": ("Look-ups in the cache on disk.", "result"),
}
_GAUGES: Final = {
    "queue_batches": "Finished batches that wait now.",
    "in_flight_requests": "Requests on the wire now.",
    "worker_processes": "Worker processes that are up.",
}


class LoaderCollector(Collector):
    """One for all loaders of a process, each with a name that becomes the label ``loader``.

    It does not keep them alive: one that is gone is left out. Labels take few values (names of loaders, knobs,
    stages, outcomes, limits), and none holds a key or an address.
    """

    def __init__(self, loaders: Mapping[str, Loader | AsyncLoader]) -> None:
        """Raises `OptionError` for an empty name."""
        for name in loaders:
            if not name:
                raise OptionError("loaders", repr(name), 'a name for each loader: {"train": loader}')
        self._loaders = {name: weakref.ref(loader) for name, loader in loaders.items()}

    def describe(self) -> Iterator[Metric]:
        """The metrics without values: what a registry asks for before anything is read."""
        yield from _Families().all

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        families = _Families()
        for name, reference in self._loaders.items():
            loader = reference()
            if loader is not None:
                families.add(name, loader.snapshot())
        yield from families.all


class _Families:
    """The metrics of one scrape."""

    def __init__(self) -> None:
        self._counters = {
            name: CounterMetricFamily(f"aioloader_{name}", text, labels=["loader"]) for name, text in _COUNTERS.items()
        }
        self._labelled = {
            name: CounterMetricFamily(f"aioloader_{name}", text, labels=["loader", label])
            for name, (text, label) in _LABELLED_COUNTERS.items()
        }
        self._gauges = {
            name: GaugeMetricFamily(f"aioloader_{name}", text, labels=["loader"]) for name, text in _GAUGES.items()
        }
        self._knob = GaugeMetricFamily("aioloader_knob", "What a knob is set to now.", labels=["loader", "knob"])
        self._fetch = HistogramMetricFamily("aioloader_fetch_seconds", "How long fetches took.", labels=["loader"])
        self._decode = HistogramMetricFamily("aioloader_decode_seconds", "How long decodes took.", labels=["loader"])
        self._verdict = InfoMetricFamily("aioloader_verdict", "What limits the run.", labels=["loader"])

    @property
    def all(self) -> Iterator[Metric]:
        """In the order of the exposition."""
        yield from self._counters.values()
        yield from self._labelled.values()
        yield from self._gauges.values()
        yield from (self._knob, self._fetch, self._decode, self._verdict)

    def add(self, loader: str, snapshot: Snapshot) -> None:
        """The figures of one loader."""
        stats, requests = snapshot.stats, snapshot.stats.engine.requests
        counts = {
            "samples": stats.samples,
            "batches": stats.batches,
            "epochs": stats.epochs,
            "skipped_samples": stats.skipped,
            "fetched_bytes": stats.bytes_fetched,
            "data_wait_seconds": stats.data_wait_s,
            "queue_occupied_seconds": snapshot.queue_s,
            "retries": requests.retries,
            "late_requests": requests.hedged,
        }
        for name, value in counts.items():
            self._counters[name].add_metric([loader], value)
        labelled = {
            "requests": {
                "answered": requests.answered,
                "throttled": requests.throttled,
                "connection_trouble": requests.troubles,
            },
            "failed_samples": {"fetch": stats.fetch.failed, "decode": stats.decode.failed},
            "cache_lookups": {"hit": stats.cache.hits, "miss": stats.cache.misses},
        }
        for name, by_label in labelled.items():
            for label, value in by_label.items():
                self._labelled[name].add_metric([loader, label], value)
        gauges = {
            "queue_batches": snapshot.queued,
            "in_flight_requests": stats.in_flight,
            "worker_processes": stats.engine.processes,
        }
        for name, value in gauges.items():
            self._gauges[name].add_metric([loader], value)
        settings = snapshot.settings
        knobs = {
            "concurrency": settings.concurrency,
            "workers": settings.workers,
            "use_multiprocessing": int(settings.use_multiprocessing),
            "max_queue_size": settings.max_queue_size,
        }
        for knob, value in knobs.items():
            self._knob.add_metric([loader, knob], value)
        self._fetch.add_metric([loader], _buckets(snapshot.fetch), snapshot.fetch.total_s)
        self._decode.add_metric([loader], _buckets(snapshot.decode), snapshot.decode.total_s)
        self._verdict.add_metric([loader], {"limit": snapshot.verdict.limit})


def _buckets(latency: LatencyHistogram) -> list[tuple[str, float]]:
    ends = [(repr(2**octave / 1e6), float(latency.below(octave))) for octave in _OCTAVES]
    return [*ends, ("+Inf", float(latency.count))]
