"""One running stream: a plan with its consumer's end, and the workers that fill it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.pulse import Pulse, Work
from aioloader.engine.state import StreamState
from aioloader.engine.worker import Worker
from aioloader.monitor.stats import CacheCounts
from aioloader.monitor.timeline import Settings
from aioloader.storage.caching import CachingStore
from aioloader.storage.origin_state import state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job
    from aioloader.engine.shared import Shared
    from aioloader.engine.state import Waiter
    from aioloader.engine.step import Step
    from aioloader.monitor.stats import RequestCounts
    from aioloader.runtime.loop import LoopLease


class Stream:
    """What the consumer, the session and the finalizers see, wherever the workers run.

    Created by the session in the caller's thread; ``start`` and ``end`` run on the loop.
    """

    def __init__(self, state: StreamState, lease: LoopLease) -> None:
        self.state = state
        self.owner: object | None = None
        """The iterator that reads it now; another one opening it makes the former raise."""
        self._lease = lease

    def start(self) -> None:
        """Begin; on the loop."""
        raise NotImplementedError

    async def end(self) -> None:
        """Stop all work and wait until none is left; on the loop. Idempotent."""
        raise NotImplementedError

    def pop(self, waiter: Waiter | None = None) -> Step | None:
        """The next whole step, or None and ``waiter`` is called once when to look again."""
        raise NotImplementedError

    def extend(self, last_epoch: int) -> None:
        """Let fetching run up to the end of ``last_epoch``, no further; what was fetched beyond stays."""
        raise NotImplementedError

    def abandon_stuck(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic) for running decodes; then name, replace and forget who runs them."""
        raise NotImplementedError

    def describe_in_flight(self) -> str:
        """The oldest samples being worked on, and for how long; for `StalledError`."""
        raise NotImplementedError

    def settings(self) -> Settings:
        """What it works with now."""
        raise NotImplementedError

    def apply(self, settings: Settings) -> None:
        """Go on with these; on the loop."""
        raise NotImplementedError

    def work(self) -> Work:
        """What those who work for it have done so far."""
        raise NotImplementedError

    def request_counts(self) -> RequestCounts:
        """What became of requests so far."""
        raise NotImplementedError

    def cache_counts(self) -> CacheCounts:
        """What became of look-ups in the cache so far."""
        raise NotImplementedError

    def close(self) -> None:
        """End it: nothing more is delivered from now on, the rest follows on the loop. Not for finalizers."""
        self.wake(self.state.close())
        self.close_soon()

    def close_soon(self) -> None:
        """End it without waiting or locking; from anywhere, a finalizer included."""
        self._lease.post(self._begin_end)

    def _begin_end(self) -> None:
        raise NotImplementedError

    @staticmethod
    def wake(waiter: Waiter | None) -> None:
        """Call whoever waits."""
        if waiter is not None:
            waiter()


class ThreadStream(Stream):
    """Its one worker fetches on the process's loop and decodes in the process's threads."""

    def __init__(self, job: Job, shared: Shared, lease: LoopLease, first_epoch: int, last_epoch: int) -> None:
        super().__init__(StreamState(job, first_epoch, last_epoch), lease)
        self._job = job
        self._threads = shared.threads
        self._bodies = shared.bodies.open(job.options.body_bytes)
        self._requests = shared.requests_to(job.store.origin, job.options.concurrency).open()
        self._worker = Worker(
            self.state,
            job,
            job.store,
            concurrency=job.options.concurrency,
            workers=job.options.workers,
            threads=shared.threads,
            bodies=self._bodies,
            body_bytes=job.options.body_bytes or shared.bodies.capacity,
            requests=self._requests,
            counters=job.counters,
            post=self._post,
            is_ending=lambda: lease.is_ending,
        )
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._shared = shared
        self._origin = state_of(job.store.origin)
        self._concurrency = job.options.concurrency
        self._pulse = Pulse(self, job.counters, job.controller, self.apply)

    def settings(self) -> Settings:
        """What it works with now."""
        workspace = self._job.workspace
        return Settings(
            concurrency=self._concurrency,
            workers=self._job.options.workers,
            use_multiprocessing=False,
            max_queue_size=workspace.queue_size,
        )

    def apply(self, settings: Settings) -> None:
        """Go on with these; on the loop."""
        if settings.concurrency != self._concurrency:
            self._set_concurrency(settings.concurrency)

    def work(self) -> Work:
        """CPU of the loop and of the decode threads, which all loaders of the process share."""
        lag = self._shared.lag.histogram
        return Work(
            loop_cpu_s=self._lease.cpu_s,
            decode_cpu_s=self._threads.cpu_s,
            lags=lag.count,
            lag_s=lag.total_s,
            is_blocked=self._worker.is_blocked,
        )

    def request_counts(self) -> RequestCounts:
        """Those to the origin, of all loaders."""
        return replace(self._origin.counts)

    def cache_counts(self) -> CacheCounts:
        """The loader's."""
        return replace(self._job.store.counts) if isinstance(self._job.store, CachingStore) else CacheCounts()

    def _set_concurrency(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._shared.requests_to(self._job.store.origin, concurrency)
        self._requests.set_limit(concurrency)
        self.state.set_look_ahead(self._job.look_ahead(concurrency))
        self._worker.set_concurrency(concurrency)
        self._worker.go_on()

    def _post(self, callback: Callable[[], object]) -> None:
        self._lease.post(callback)

    def start(self) -> None:
        """Begin fetching; on the loop."""
        if self.state.closed:
            self._finish()
            return
        try:
            if not self._worker.is_inline:
                self._threads.add(self._worker, self._job.options.workers)
        except RuntimeError as exc:  # the system starts no more threads
            self._worker.fail(exc)
            self._finish()
            return
        self._task = self._lease.spawn(self._worker.run())
        self._pulse.start()
        # Not a `finally` in the task: one that is cancelled before its first step never runs a line.
        self._task.add_done_callback(lambda _: self._finish())

    def _finish(self) -> None:
        self._pulse.stop()
        self._threads.remove(self._worker)
        self.wake(self.state.close())
        self._bodies.close()
        self._requests.close()
        self._ended.set()

    async def end(self) -> None:
        """Cancel every fetch and wait until none is left."""
        self.wake(self.state.close())
        if self._task is not None:
            self._task.cancel()
            await self._ended.wait()

    def _begin_end(self) -> None:
        self.wake(self.state.close())
        if self._task is not None:
            self._task.cancel()

    def pop(self, waiter: Waiter | None = None) -> Step | None:
        """The next whole step; fetchers and decoders hear that there is room."""
        step = self.state.pop(waiter)
        if step is not None:
            if self._worker.starved:
                self._lease.post(self._worker.go_on)
            self._worker.announce(self._job.options.workers)  # the ring has room for one more step
        return step

    def extend(self, last_epoch: int) -> None:
        """At once: fetchers that had reached the end go on."""
        self.state.last_epoch = last_epoch
        self.wake(self.state.release_waiter())  # another iterator's: it hears that it was replaced
        self._lease.post(self._worker.go_on)

    def abandon_stuck(self, deadline: float) -> None:
        """A thread that does not come back is a daemon, named and replaced."""
        self._threads.settle(self._worker, max(deadline, monotonic()))

    def describe_in_flight(self) -> str:
        """Fetches and decodes alike."""
        return self._worker.describe_in_flight()
