"""Epoch after epoch from a server of which a tenth of the answers go wrong: are all exact, and does nothing grow?"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import psutil

import aioloader as al
from tests.faults.drill import Via, check_exact, loader_of
from tests.faults.server_process import Served, server_process

if TYPE_CHECKING:
    from collections.abc import Sequence

WARM_UP = 0.2
"""Share of the time that is no part of the figures."""
KINDS = (
    "reset", "cut", "stall", "silent", "status", "extra bytes", "chunks cut", "two lengths", "short range",
    "wrong range",
)  # fmt: skip
"""What a tenth of the requests meet; refusals come from the rate limit."""
RSS_BYTES_PER_MIN = 1e6
MOST_DESCRIPTORS = 16
"""Connections come and go with what is in flight: 64 at most."""
RETRY = al.Retry(attempts=12, base_s=0.02, throttled_base_s=0.25)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A soak: how long, through what, and from how bad a server."""

    seconds: float
    use_multiprocessing: bool = False
    transport: str = "auto"
    concurrency: int | Literal["auto"] = "auto"
    order: str = "strict"
    seed: int = 1
    count: int = 400
    per_s: float = 300.0
    share: float = 0.1


@dataclass
class Sample:
    """What the client's processes hold at one moment."""

    at_s: float
    rss_bytes: int
    descriptors: int
    threads: int
    processes: int


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    epochs: int
    seconds: float
    samples: list[Sample]
    server: dict[str, Any]
    requests: Any
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Descriptors and threads before the loader was made, and after it was closed."""

    @property
    def steady(self) -> list[Sample]:
        """Without the warm-up."""
        begun_s = self.samples[0].at_s
        length_s = self.samples[-1].at_s - begun_s
        return [sample for sample in self.samples if sample.at_s - begun_s >= WARM_UP * length_s]

    @property
    def rss_bytes_per_min(self) -> float:
        """Theil-Sen's slope."""
        return 60 * slope([sample.at_s for sample in self.steady], [sample.rss_bytes for sample in self.steady])

    def growth(self, name: str) -> float:
        """How much more of it the last third held than the first one, by their medians."""
        values = [getattr(sample, name) for sample in self.steady]
        third = max(len(values) // 3, 1)
        return float(statistics.median(values[-third:]) - statistics.median(values[:third]))

    def range_of(self, name: str) -> str:
        """Least, median and most."""
        values = [getattr(sample, name) for sample in self.steady]
        return f"{min(values):,} / {statistics.median(values):,.0f} / {max(values):,}"

    def complaints(self) -> list[str]:
        """What grew, or is left."""
        found = []
        if self.rss_bytes_per_min >= RSS_BYTES_PER_MIN:
            found.append(f"memory grew by {self.rss_bytes_per_min / 1e6:.2f} MB a minute")
        found += [
            f"{name} grew by {self.growth(name):.0f}"
            for name, most in (("descriptors", MOST_DESCRIPTORS), ("threads", 0))
            if self.growth(name) > most
        ]
        return found

    def __str__(self) -> str:
        plan = self.plan
        total = self.epochs * plan.count
        return "\n".join(
            [
                f"{'processes' if plan.use_multiprocessing else 'threads'}, {plan.order}, {plan.transport}, "
                f"concurrency {plan.concurrency}, "
                f"seed {plan.seed}: {self.epochs} epochs of {plan.count} samples in {self.seconds:.0f} s, all exact "
                f"({total / self.seconds:.0f} samples/s)",
                f"  server: {self.server}",
                f"  client: {self.requests}",
                f"  RSS slope {self.rss_bytes_per_min / 1e6:+.3f} MB/min over {len(self.steady)} s; "
                f"MB {self.range_of_mb()}",
                f"  descriptors {self.range_of('descriptors')}, growth {self.growth('descriptors'):+.0f}; "
                f"threads {self.range_of('threads')}, growth {self.growth('threads'):+.0f}; "
                f"processes {self.range_of('processes')}",
                f"  before and after: {self.ends}",
            ]
        )

    def range_of_mb(self) -> str:
        """RSS."""
        values = [sample.rss_bytes / 1e6 for sample in self.steady]
        return f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f}"


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """The median of all pairs' slopes: one that no outlier moves."""
    pairs = [
        (values[later] - values[earlier]) / (at[later] - at[earlier])
        for earlier in range(len(at))
        for later in range(earlier + 1, len(at))
    ]
    return statistics.median(pairs)


class Watch:
    """Looks each second at this process and its children but ``server``."""

    def __init__(self, spared: set[int]) -> None:
        self.samples: list[Sample] = []
        self._spared = spared
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            self.samples.append(look(self._spared))


def look(spared: set[int]) -> Sample:
    """This process and its children now."""
    me = psutil.Process()
    rss = descriptors = threads = count = 0
    for process in [me, *(child for child in me.children() if child.pid not in spared)]:
        try:
            with process.oneshot():
                rss += process.memory_info().rss
                descriptors += process.num_fds()
                threads += process.num_threads()
            count += 1
        except psutil.Error:
            continue
    return Sample(time.monotonic(), rss, descriptors, threads, count)


def soak(plan: Plan) -> Outcome:
    """Run it. Raises where an epoch is not exact."""
    served = Served(
        seed=plan.seed,
        count=plan.count,
        sizes=(0, 100, 5000, 60_000),
        share=plan.share,
        kinds=KINDS,
        latency_s=0.02,
        latency_p99_s=0.4,
        per_s=plan.per_s,
    )
    objects = served.objects()
    with server_process(served) as child:
        spared = {process.pid for process in psutil.Process().children()}
        before = look(spared)
        store = Via("http", plan.transport).at(child.url, idle_timeout_s=1.5)
        loader = loader_of(
            store,
            objects,
            seed=plan.seed,
            order=plan.order,
            use_multiprocessing=plan.use_multiprocessing,
            concurrency=plan.concurrency,
            workers=2,
            retry=RETRY,
            batch_size=16,
        )
        epochs, began_s = 0, time.monotonic()
        with loader, Watch(spared) as watch:
            while time.monotonic() - began_s < plan.seconds:
                check_exact(loader, objects)
                epochs += 1
            seconds = time.monotonic() - began_s
            requests = loader.stats().engine.requests
        del loader, store
        gc.collect()
        after = look(spared)
    return Outcome(
        plan,
        epochs,
        seconds,
        watch.samples,
        child.counts,
        requests,
        {"descriptors": (before.descriptors, after.descriptors), "threads": (before.threads, after.threads)},
    )
