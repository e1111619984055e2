"""The pulse of a stream: four times a second what was counted is noted, and the knobs follow."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aioloader.monitor.timeline import Moment, Settings
from aioloader.runtime.cpu import idle_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.state import StreamState
    from aioloader.monitor.stats import CacheCounts, Counters, RequestCounts

EVERY_S: Final = 0.25


class Controller(Protocol):
    """Sets the knobs."""

    def observe(self, moment: Moment, *, epoch: int, samples_left: int) -> Settings:
        """The settings from now on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What those who work for a stream say of themselves: CPU seconds, how often and how late loops ran their timers in
    all, and whether fetching waits for bytes."""

    loop_cpu_s: float = 0.0
    decode_cpu_s: float = 0.0
    child_loop_cpu_s: float = 0.0
    child_decode_cpu_s: float = 0.0
    lags: int = 0
    lag_s: float = 0.0
    is_blocked: bool = False


class Working(Protocol):
    """A stream as its pulse sees it."""

    @property
    def state(self) -> StreamState:
        """Its plan."""
        ...

    def settings(self) -> Settings:
        """What it works with now."""
        ...

    def work(self) -> Work:
        """What was done so far."""
        ...

    def request_counts(self) -> RequestCounts:
        """What became of requests."""
        ...

    def cache_counts(self) -> CacheCounts:
        """What became of look-ups in the cache."""
        ...


class Pulse:
    """On the loop alone."""

    def __init__(
        self, stream: Working, counters: Counters, controller: Controller, apply: Callable[[Settings], None]
    ) -> None:
        """``apply`` is called with the settings that ``controller`` wants where they are not the stream's."""
        self._stream = stream
        self._counters = counters
        self._controller = controller
        self._apply = apply
        self._timer: asyncio.TimerHandle | None = None
        self._beat_s = 0.0

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._beat_s = loop.time()
        self._timer = loop.call_later(EVERY_S, self._beat, loop)

    def stop(self) -> None:
        """Note how it ended; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._note(asyncio.get_running_loop().time())

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        moment = self._note(loop.time())
        epoch, step = self._stream.state.next_epoch_and_step
        wanted = self._controller.observe(moment, epoch=epoch, samples_left=self._samples_left(epoch, step))
        if wanted != moment.settings:
            self._apply(wanted)
        self._timer = loop.call_later(EVERY_S, self._beat, loop)

    def _samples_left(self, epoch: int, step: int) -> int:
        """What will surely be read; who has begun a second epoch is taken to read another one."""
        state = self._stream.state
        plan = state.job.plan
        epochs = state.last_epoch - epoch + 1 + (1 if self._counters.epochs else 0)
        return epochs * plan.slots_per_epoch - step * plan.batch_size

    def _note(self, now_s: float) -> Moment:
        """The moment of now, which is noted."""
        counters, stream = self._counters, self._stream
        counters.active_s += now_s - self._beat_s
        self._beat_s = now_s
        settings, work, requests, cache = (
            stream.settings(),
            stream.work(),
            stream.request_counts(),
            stream.cache_counts(),
        )
        counters.beats += 1
        counters.full_beats += counters.queue.length >= settings.max_queue_size
        counters.blocked_beats += work.is_blocked
        latency = counters.fetch.latency
        moment = Moment(
            at_s=time.monotonic(),
            active_s=counters.active_s,
            settings=settings,
            batches=counters.batches,
            samples=counters.samples,
            data_wait_s=counters.data_wait_s,
            fetched=latency.count,
            fetch_s=latency.total_s,
            in_flight=counters.in_flight,
            in_flight_seen=counters.in_flight_seen,
            bytes_fetched=counters.bytes_fetched,
            decoded=counters.decoded,
            decode_s=counters.decode_s,
            queued=counters.queue.length,
            queue_s=counters.queue.busy_s(),
            queued_s=counters.queue.area_s(),
            decode_cpu_s=work.decode_cpu_s,
            loop_cpu_s=work.loop_cpu_s,
            process_cpu_s=time.process_time(),
            child_decode_cpu_s=work.child_decode_cpu_s,
            child_loop_cpu_s=work.child_loop_cpu_s,
            idle_s=idle_s(),
            lags=work.lags,
            lag_s=work.lag_s,
            beats=counters.beats,
            full_beats=counters.full_beats,
            blocked_beats=counters.blocked_beats,
            answered=requests.answered,
            throttled=requests.throttled,
            retries=requests.retries,
            troubles=requests.troubles,
            hedged=requests.hedged,
            failed=counters.fetch.failed + counters.decode.failed,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
        )
        counters.timeline.add(moment)
        return moment
