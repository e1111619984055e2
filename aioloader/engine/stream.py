"""One running stream: C fetchers on the loop, decode lanes in threads, around a `StreamState`.

The order of reservations is ticket, bytes, request: each queue is first come first served, so the oldest sample holds
the oldest place in all three, and a request is never held while bytes are waited for.
"""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import numpy as np

from aioloader.engine.bodies import BodySizes, check_length
from aioloader.engine.decoding import decode_item, wrap_foreign
from aioloader.engine.state import StreamState, Waiter
from aioloader.engine.step import Item
from aioloader.errors import (
    DatasetError,
    DecodeError,
    InvariantError,
    OptionError,
    SampleError,
    StoreError,
)
from aioloader.redact import shown_key
from aioloader.tree import flatten

if TYPE_CHECKING:
    from aioloader.engine.job import Job
    from aioloader.engine.shared import Shared
    from aioloader.engine.step import Step
    from aioloader.runtime.loop import LoopLease
    from aioloader.types import SampleRef


class Stream:
    """Created by the session in the caller's thread; ``run`` is its one task on the loop."""

    def __init__(self, job: Job, shared: Shared, lease: LoopLease, first_epoch: int, last_epoch: int) -> None:
        self.state = StreamState(job, first_epoch, last_epoch)
        self.owner: object | None = None
        """The iterator that reads it now; another one opening it makes the former raise."""
        self._job = job
        self._threads = shared.threads
        self._lease = lease
        self._store = job.samples.store
        self._bodies = shared.bodies.open(job.options.body_bytes)
        self._requests = shared.requests_to(self._store.origin, job.options.concurrency).open()
        self._more = asyncio.Event()
        self._in_line = asyncio.Lock()
        self._starved = False
        self._cursor = 0
        self._sizes = BodySizes(job.options.body_bytes or shared.bodies.capacity)
        self._in_flight: dict[int, tuple[str, str, float]] = {}
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- on the loop -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin fetching; on the loop."""
        if self.state.closed:
            self._finish()
            return
        try:
            self._threads.add(self, self._job.options.workers)
        except RuntimeError as exc:  # the system starts no more threads
            self._break(exc)
            self._finish()
            return
        self._task = self._lease.spawn(self._run())
        # Not a `finally` in the task: one that is cancelled before its first step never runs a line.
        self._task.add_done_callback(lambda _: self._finish())

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as fetchers:
                for _ in range(self._job.options.concurrency):
                    fetchers.create_task(self._fetch_in_order())
        except asyncio.CancelledError:
            pass  # end() cancels this task; nobody awaits it
        except BaseExceptionGroup as group:
            self._break(group.exceptions[0])

    def _break(self, exc: BaseException) -> None:
        """A defect of ours: the consumer must hear of it instead of waiting."""
        error = InvariantError(f"the engine failed with {type(exc).__name__}: {exc}; please report this")
        error.__cause__ = exc
        self._wake(self.state.close(broken=error))

    def _finish(self) -> None:
        self._threads.remove(self)
        self._wake(self.state.close())
        self._bodies.close()
        self._requests.close()
        self._ended.set()

    async def _fetch_in_order(self) -> None:
        while True:
            while self._cursor >= self.state.ticket_limit:
                self._more.clear()
                self._starved = True
                if self._cursor < self.state.ticket_limit:
                    break  # the consumer moved between the two looks
                await self._more.wait()
            ticket = self._cursor
            self._cursor += 1
            try:
                await self._fetch(ticket)
            except asyncio.CancelledError:
                raise
            except BaseException as exc:
                self._break(exc)  # before the group cancels the others, who would take it for their sample's fault
                raise

    async def _fetch(self, ticket: int) -> None:
        step, slot = self.state.locate(ticket)
        sample = self._job.samples[int(step.sample_ids[slot])]
        async with self._in_line:  # else who has just seen a size reserves before older samples that wait for one
            reserved = await self._sizes.expected(sample)
            await self._bodies.reserve(reserved)
        await self._requests.reserve(1)
        counters = self._job.counters
        started = monotonic()
        self._in_flight[ticket] = sample.key, "fetch", started
        counters.in_flight += 1
        counters.in_flight_peak = max(counters.in_flight_peak, counters.in_flight)
        item, error = None, None
        try:
            body = await self._store.get(sample.key, sample.byte_range)
            check_length(sample, len(body))
            self._bodies.correct(reserved, len(body))
            item = Item(ticket, step, slot, sample, body, len(body))
        except (OptionError, DatasetError) as exc:
            self._wake(self.state.close(broken=exc))  # the store cannot work at all: no sample's fault
            return
        except BaseException as exc:
            if self._is_ending(exc):
                raise
            error = self._named(exc, sample)
        finally:
            counters.in_flight -= 1
            self._sizes.saw(None if item is None else len(item.body))
            self._requests.release(1)
            self._in_flight.pop(ticket, None)
        if item is None:
            assert error is not None
            self._bodies.release(reserved)
            self._wake(self.state.failed(ticket, step, slot, error))
            self._threads.announce(1)  # the first sample's place as the one that sets the shapes may have moved on
            return
        counters.fetch.latency.record(monotonic() - started)
        counters.bytes_fetched += len(item.body)
        await self._hand_on(item)

    async def _hand_on(self, item: Item) -> None:
        if self._job.decoder.is_async:
            started = perf_counter()
            self._in_flight[item.ticket] = item.sample.key, "decode", monotonic()
            try:
                rng = self._job.rng(item.step.epoch, item.sample.index)
                item.decoded = await self._job.decoder.decode_async(item.body, item.sample, rng)
                # The arrays wait for their slot in the body's place.
                nbytes = sum(np.asarray(leaf).nbytes for _, leaf in flatten(item.decoded))
            except BaseException as exc:
                if self._is_ending(exc):
                    raise
                error = self._named(exc, item.sample, item)
                self._bodies.release(item.reserved_bytes)
                self._wake(self.state.failed(item.ticket, item.step, item.slot, error))
                self._threads.announce(1)
                return
            finally:
                self._in_flight.pop(item.ticket, None)
            item.decode_s = perf_counter() - started
            self._bodies.correct(item.reserved_bytes, nbytes)
            item.body, item.reserved_bytes = b"", nbytes
        self.state.offer(item)
        self._threads.announce(1)

    def _named(self, exc: BaseException, sample: SampleRef, item: Item | None = None) -> SampleError:
        """The failure with the sample's name on it and its cause kept."""
        if isinstance(exc, SampleError):
            return exc.with_sample(sample.index)
        if item is not None:
            error = wrap_foreign(exc, item, DecodeError, "the decoder raised")
        else:
            reason = f"the store raised {type(exc).__name__}: {exc}".replace(sample.key, shown_key(sample.key))
            hint = "A store should raise aioloader.errors.StoreError; see the cause above."
            error = StoreError(reason, shown_key(sample.key), hint, sample.byte_range, 1, "fetch", sample.index)
        error.__cause__ = exc
        return error

    def _is_ending(self, exc: BaseException) -> bool:
        """Whether ``exc`` is our own cancelling; else a decoder or store raised it, or cancelled our task."""
        if not isinstance(exc, asyncio.CancelledError):
            return False
        if self.state.closed or self._lease.is_ending:
            return True
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
        return False

    def _go_on(self) -> None:
        self._more.set()

    async def end(self) -> None:
        """Cancel every fetch and wait until none is left; on the loop. Idempotent."""
        self._wake(self.state.close())
        if self._task is not None:
            self._task.cancel()
            await self._ended.wait()

    # -- in decode threads -------------------------------------------------------------------------------

    def work(self) -> bool:
        """Decode the oldest sample that may be decoded; False if there is none."""
        try:
            item = self.state.take()
        except BaseException as exc:  # no memory for a slab
            self._break(exc)
            return False
        if item is None:
            return False
        self._in_flight[item.ticket] = item.sample.key, "decode", monotonic()
        error = None
        first = item.step.slab is None
        started = perf_counter()
        try:
            decode_item(self._job, item)
        except SampleError as exc:
            error = exc
        except OptionError as exc:
            self._wake(self.state.close(broken=exc))
        except BaseException as exc:
            self._break(exc)
        duration_s = item.decode_s + perf_counter() - started
        self._in_flight.pop(item.ticket, None)
        self._bodies.release(item.reserved_bytes)
        self._wake(self.state.decoded(item, duration_s, error))
        if first:
            self._threads.announce(self._job.options.workers)  # the shapes are known: all may decode
        return True

    # -- for the consumer --------------------------------------------------------------------------------

    def pop(self, waiter: Waiter | None = None) -> Step | None:
        """The next whole step, or None and ``waiter`` is called once when to look again."""
        step = self.state.pop(waiter)
        if step is not None:
            if self._starved:
                self._starved = False
                self._lease.post(self._go_on)
            self._threads.announce(self._job.options.workers)  # the ring has room for one more step
        return step

    def extend(self, last_epoch: int) -> None:
        """Let fetching run up to the end of ``last_epoch``, no further; what was fetched beyond stays."""
        self.state.last_epoch = last_epoch
        self._wake(self.state.release_waiter())  # another iterator's: it hears that it was replaced
        self._starved = False
        self._lease.post(self._go_on)

    def close(self) -> None:
        """End it: nothing more is delivered from now on, the rest follows on the loop. Not for finalizers."""
        self._wake(self.state.close())
        self.close_soon()

    def close_soon(self) -> None:
        """End it without waiting or locking; from anywhere, a finalizer included."""
        self._lease.post(self._begin_end)

    def _begin_end(self) -> None:
        self._wake(self.state.close())
        if self._task is not None:
            self._task.cancel()

    def abandon_stuck(self) -> None:
        """Replace the threads that are still in a decoder of this ended stream, and name them."""
        self._threads.settle(self, monotonic())

    def describe_in_flight(self, most: int = 5) -> str:
        """The oldest samples being worked on, and for how long; for `StalledError`."""
        now = monotonic()
        oldest = sorted(self._in_flight.copy().values(), key=lambda entry: entry[2])[:most]
        if not oldest:
            return "nothing is in flight"
        parts = [f"{shown_key(key)} ({stage}, {now - since:.1f} s)" for key, stage, since in oldest]
        return f"{len(self._in_flight)} in flight, the oldest: " + ", ".join(parts)

    @staticmethod
    def _wake(waiter: Waiter | None) -> None:
        if waiter is not None:
            waiter()
