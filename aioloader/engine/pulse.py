"""The pulse of a stream: four times a second what was counted is noted, and the knobs follow."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from aioloader.monitor.stats import CacheCounts, RequestCounts
from aioloader.monitor.timeline import Moment, Settings
from aioloader.runtime.cpu import idle_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.engine.job import Job
    from aioloader.monitor.changes import KnobChange

EVERY_S: Final = 0.25
CLOSED: Final = "the loader was closed"
NOT_OVER: Final = "the last change of workers is not over yet"
PASSING: Final = (CLOSED, NOT_OVER)
"""Reasons for which workers cannot be had now, and may be later."""


class Controller(Protocol):
    """Sets the knobs."""

    @property
    def changes(self) -> Sequence[KnobChange]:
        """What it has made of them, and why."""
        ...

    def observe(self, moment: Moment, *, epoch: int, samples_left: int) -> Settings:
        """The settings from now on."""
        ...

    def refused(self, reason: str) -> None:
        """The workers it wanted cannot be had."""
        ...

    def went_back(self, threads: int, reason: str) -> None:
        """Worker processes were given up for so many threads, for good."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What was done for a loader so far: CPU seconds of this process's loop and decode threads and of the worker
    processes', how often and how late the loop ran its timers in all, what became of requests and of look-ups."""

    loop_cpu_s: float = 0.0
    decode_cpu_s: float = 0.0
    child_loop_cpu_s: float = 0.0
    child_decode_cpu_s: float = 0.0
    lags: int = 0
    lag_s: float = 0.0
    requests: RequestCounts = field(default_factory=RequestCounts)
    cache: CacheCounts = field(default_factory=CacheCounts)


class Reading(Protocol):
    """What is being read, as its pulse sees it."""

    @property
    def settings(self) -> Settings:
        """What those who work for the consumer now work with."""
        ...

    @property
    def is_blocked(self) -> bool:
        """Whether fetching waits for the byte budget."""
        ...

    @property
    def next_epoch_and_step(self) -> tuple[int, int]:
        """What the consumer gets next."""
        ...

    @property
    def last_epoch(self) -> int:
        """How far fetching may run."""
        ...


class Pulse:
    """On the loop alone."""

    def __init__(
        self,
        reading: Reading,
        job: Job,
        work: Callable[[], Work],
        apply: Callable[[Settings], None],
    ) -> None:
        """``apply`` is called with the settings that the job's controller wants where they are not those of now."""
        self._reading = reading
        self._job = job
        self._counters = job.counters
        self._work = work
        self._apply = apply
        self._timer: asyncio.TimerHandle | None = None
        self._beat_s = 0.0
        self._meters: dict[str, float] = {}
        self._dropped = 0  # fetched for streams that were left before they were decoded

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._beat_s = loop.time()
        self._meters = _meters(self._work())
        self._dropped = self._counters.fetch.latency.count - self._counters.decoded
        self._timer = loop.call_later(EVERY_S, self._beat, loop)

    def stop(self) -> None:
        """Note how it ended; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._note(asyncio.get_running_loop().time())

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        moment = self._note(loop.time())
        epoch, step = self._reading.next_epoch_and_step
        samples_left = self._samples_left(epoch, step)
        wanted = self._job.controller.observe(moment, epoch=epoch, samples_left=samples_left)
        if wanted != moment.settings:
            self._apply(wanted)
        self._timer = loop.call_later(EVERY_S, self._beat, loop)

    def _samples_left(self, epoch: int, step: int) -> int:
        """What will surely be read; who has begun a second epoch is taken to read another one."""
        plan = self._job.plan
        epochs = self._reading.last_epoch - epoch + 1 + (1 if self._counters.epochs else 0)
        return epochs * plan.slots_per_epoch - step * plan.batch_size

    def _note(self, now_s: float) -> Moment:
        """The moment of now, which is noted."""
        counters, settings = self._counters, self._reading.settings
        counters.active_s += now_s - self._beat_s
        self._beat_s = now_s
        counters.beats += 1
        counters.full_beats += counters.queue.length >= settings.max_queue_size
        counters.blocked_beats += self._reading.is_blocked
        latency = counters.fetch.latency
        moment = Moment(
            at_s=time.monotonic(),
            active_s=counters.active_s,
            settings=settings,
            batches=counters.batches,
            samples=counters.samples,
            data_wait_s=counters.waited_s(),
            fetched=latency.count,
            fetch_s=latency.total_s,
            in_flight=counters.in_flight,
            waiting=max(latency.count - counters.decoded - self._dropped, 0),
            in_flight_seen=counters.in_flight_seen,
            bytes_fetched=counters.bytes_fetched,
            decoded=counters.decoded,
            decode_s=counters.decode_s,
            queued=counters.queue.length,
            queue_s=counters.queue.busy_s(),
            queued_s=counters.queue.area_s(),
            beats=counters.beats,
            full_beats=counters.full_beats,
            blocked_beats=counters.blocked_beats,
            failed=counters.fetch.failed + counters.decode.failed,
            **self._used(),
        )
        counters.timeline.add(moment)
        return moment

    def _used(self) -> dict[str, Any]:
        """What was used while streams were open, now included: what others count goes on between them, and begins anew
        where all loaders were closed."""
        now, used = _meters(self._work()), self._counters.used
        for name, figure in now.items():
            used[name] = used.get(name, 0) + max(figure - self._meters.get(name, figure), 0)
        self._meters = now
        return used


def _meters(work: Work) -> dict[str, float]:
    requests, cache = work.requests, work.cache
    return {
        "decode_cpu_s": work.decode_cpu_s,
        "loop_cpu_s": work.loop_cpu_s,
        "process_cpu_s": time.process_time(),
        "child_decode_cpu_s": work.child_decode_cpu_s,
        "child_loop_cpu_s": work.child_loop_cpu_s,
        "idle_s": idle_s(),
        "lags": work.lags,
        "lag_s": work.lag_s,
        "answered": requests.answered,
        "throttled": requests.throttled,
        "retries": requests.retries,
        "troubles": requests.troubles,
        "hedged": requests.hedged,
        "cache_hits": cache.hits,
        "cache_misses": cache.misses,
    }
