"""One running stream: a plan with its consumer's end, and the workers that fill it."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.state import StreamState
from aioloader.engine.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job
    from aioloader.engine.shared import Shared
    from aioloader.engine.state import Waiter
    from aioloader.engine.step import Step
    from aioloader.runtime.loop import LoopLease


class Stream(ABC):
    """What its relay sees of it, wherever the workers run.

    Created in the caller's thread or on the loop; ``start`` and ``end`` run on the loop.
    """

    def __init__(self, job: Job, state: StreamState, lease: LoopLease) -> None:
        self.job = job
        self.state = state
        self.concurrency = job.options.concurrency
        """Requests in flight at most, now."""
        self.workers = job.options.workers
        """Decoders, now: threads, or processes."""
        self.kept: object | None = None
        """What lives as long as work goes on: the relay, which nobody else may hold."""
        self._lease = lease

    @abstractmethod
    def start(self) -> None:
        """Begin; on the loop."""

    @abstractmethod
    async def end(self) -> None:
        """Stop all work and wait until none is left; on the loop. Idempotent."""

    @abstractmethod
    def begin_end(self) -> None:
        """Have all work stop; on the loop."""

    def pop(self, waiter: Waiter | None = None) -> Step | None:
        """The next whole step, or None and ``waiter`` is called once when to look again."""
        step = self.state.pop(waiter)
        if step is not None:
            self.room_changed()  # for one more step
        return step

    @abstractmethod
    def room_changed(self) -> None:
        """More may be fetched or decoded than before; from any thread."""

    def extend(self, last_epoch: int) -> None:
        """Let fetching run up to the end of ``last_epoch``, no further; what was fetched beyond stays."""
        self.state.last_epoch = last_epoch
        self.wake(self.state.release_waiter())  # another iterator's: it hears that it was replaced

    def hand_over(self) -> tuple[int, int] | None:
        """Begin no more steps; see `StreamState.hand_over`. On the loop."""
        return self.state.hand_over()

    @property
    @abstractmethod
    def is_blocked(self) -> bool:
        """Whether fetching waits for the byte budget."""

    @abstractmethod
    def set_concurrency(self, concurrency: int) -> None:
        """So many requests in flight from now on; those beyond are finished. On the loop."""

    @abstractmethod
    def set_workers(self, workers: int) -> None:
        """So many decoders from now on, or as many as the system starts threads for. On the loop."""

    @property
    @abstractmethod
    def body_bytes_held(self) -> int:
        """Bytes of bodies that wait for a decoder, as far as this process holds them."""

    @abstractmethod
    def set_body_bytes(self, nbytes: int) -> None:
        """Hold at most so many bytes of bodies from now on. On the loop."""

    @property
    def is_stuck(self) -> bool:
        """After `end`: whether a decode still runs, which nobody can end."""
        return False

    @abstractmethod
    def abandon_stuck(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic) for running decodes; then name, replace and forget who runs them."""

    @abstractmethod
    def describe_in_flight(self) -> str:
        """The oldest samples being worked on, and for how long; for `StalledError`."""

    @staticmethod
    def wake(waiter: Waiter | None) -> None:
        """Call whoever waits."""
        if waiter is not None:
            waiter()


class ThreadStream(Stream):
    """Its one worker fetches on the process's loop and decodes in the process's threads."""

    def __init__(
        self, job: Job, shared: Shared, lease: LoopLease, first_epoch: int, last_epoch: int, first_step: int = 0
    ) -> None:
        super().__init__(job, StreamState(job, first_epoch, last_epoch, first_step=first_step), lease)
        self._shared = shared
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
            witnesses=job.witnesses,
        )
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def set_concurrency(self, concurrency: int) -> None:
        """Fetchers are started, or end after their sample."""
        self.concurrency = concurrency
        self._shared.requests_to(self.job.store.origin, concurrency)
        self._requests.set_limit(concurrency)
        self.state.set_look_ahead(self.job.look_ahead(concurrency))
        self._worker.set_concurrency(concurrency)
        self._worker.go_on()

    def set_workers(self, workers: int) -> None:
        """Threads are started where there are too few; they serve all loaders, so none is ended."""
        self.workers = workers
        self.state.set_workers(workers)
        if not self._worker.is_inline and self._task is not None:
            with contextlib.suppress(RuntimeError):  # the system starts no more threads: those there are go on
                self._threads.want(workers)
        self._worker.set_workers(workers)

    @property
    def is_blocked(self) -> bool:
        """Whether somebody stands in line for bytes."""
        return self._worker.is_blocked

    @property
    def body_bytes_held(self) -> int:
        """As its account has it."""
        return self._bodies.used

    def set_body_bytes(self, nbytes: int) -> None:
        """One that is larger still passes alone."""
        self._bodies.set_limit(nbytes)

    def _post(self, callback: Callable[[], object]) -> None:
        self._lease.post(callback)

    def start(self) -> None:
        """Begin fetching; on the loop."""
        if self.state.closed:
            self._finish()
            return
        try:
            if not self._worker.is_inline:
                self._threads.add(self._worker, self.state.workers)
        except RuntimeError as exc:  # the system starts no more threads
            self._worker.fail(exc)
            self._finish()
            return
        self._task = self._lease.spawn(self._worker.run())
        # Not a `finally` in the task: one that is cancelled before its first step never runs a line.
        self._task.add_done_callback(lambda _: self._finish())

    def _finish(self) -> None:
        self._threads.remove(self._worker)
        self.wake(self.state.close())
        self._bodies.close()
        self._requests.close()
        self._ended.set()

    async def end(self) -> None:
        """Cancel every fetch and wait until none is left."""
        self.begin_end()
        await self._ended.wait()

    def begin_end(self) -> None:
        """Cancel every fetch."""
        self.wake(self.state.close())
        if self._task is not None:
            self._task.cancel()
        else:
            self._finish()  # it never began

    def room_changed(self) -> None:
        """Fetchers and decoders look again."""
        if self._worker.starved:
            self._lease.post(self._worker.go_on)
        self._worker.announce(self.state.workers)

    def extend(self, last_epoch: int) -> None:
        """At once: fetchers that had reached the end go on."""
        super().extend(last_epoch)
        self._lease.post(self._worker.go_on)

    @property
    def is_stuck(self) -> bool:
        """In one of the threads."""
        return self._threads.is_busy_with(self._worker)

    def abandon_stuck(self, deadline: float) -> None:
        """A thread that does not come back is a daemon, named and replaced."""
        self._threads.settle(self._worker, max(deadline, monotonic()))

    def describe_in_flight(self) -> str:
        """Fetches and decodes alike."""
        return self._worker.in_flight.describe()
