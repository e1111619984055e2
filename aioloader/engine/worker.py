"""A worker: C fetchers on an event loop and its share of decode threads, wherever it runs.

In the training process it serves the stream's own plan, in a worker process what the parent planned for it. The order
of reservations is ticket, bytes, request: each queue is first come first served, so the oldest sample holds the oldest
place in all three, and a request is never held while bytes are waited for.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from aioloader.engine.bodies import BodySizes, check_length
from aioloader.engine.decoding import Recipe, decode_item, wrap_foreign
from aioloader.engine.in_flight import InFlight
from aioloader.engine.quick_reads import QuickReads
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
    from collections.abc import Callable, Iterable

    from aioloader.engine.budget import Account
    from aioloader.engine.lanes import DecodeThreads
    from aioloader.engine.step import Item
    from aioloader.engine.witnesses import Witnesses
    from aioloader.engine.work import Waiter, Work
    from aioloader.monitor.stats import Counters
    from aioloader.types import InformedStore, SampleRef

_FETCHED_IN_A_ROW = 64
"""A store that answers without waiting (memory) would never let anything else on the loop have its turn."""
_INLINE_RUN = 16
"""Samples that are decoded on the loop in one go; then requests get their turn."""


class Worker:
    """``run`` is its one task on the loop; ``work`` is called by decode threads."""

    def __init__(
        self,
        work: Work,
        recipe: Recipe,
        store: InformedStore,
        *,
        concurrency: int,
        workers: int,
        threads: DecodeThreads,
        bodies: Account,
        body_bytes: int,
        requests: Account,
        counters: Counters,
        post: Callable[[Callable[[], object]], object],
        is_ending: Callable[[], bool],
        may_read_now: bool = True,
        witnesses: Witnesses | None = None,
    ) -> None:
        """``may_read_now``: whether decode threads may read what a store can read without waiting long.

        ``witnesses`` may want some samples that were decoded.
        """
        self._work = work
        self._recipe = recipe
        self._store = store
        self._concurrency = concurrency
        self._workers = workers
        self._threads = threads
        self._bodies = bodies
        self._requests = requests
        self._counters = counters
        self._post = post
        self._witnesses = witnesses
        self._is_loop_ending = is_ending
        self._more = asyncio.Event()
        self._fetchers: asyncio.TaskGroup | None = None
        self._to_rescue: list[int] = []
        self._begun = 0  # fetchers
        self._in_line = asyncio.Lock()
        self._line_length = 0
        self._in_a_row = 0
        self.starved = False
        """Whether fetchers wait for more to be allowed: `go_on` wakes them."""
        self._sizes = BodySizes(body_bytes)
        self.in_flight = InFlight(counters.recorder, store.origin)
        self.is_inline = recipe.decoder.runs_inline and recipe.transform is None
        """Whether it decodes on the loop: then no decode thread serves it."""
        self._inline_posted = False
        read_now = getattr(store, "read_now", None) if may_read_now else None
        self._quick: QuickReads | None = None
        if read_now is not None and not self.is_inline and not recipe.decoder.is_async:
            self._quick = QuickReads(self, work, read_now, workers, counters, post)

    # -- on the loop -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch until cancelled. Ends itself only by a defect, which the plan hears of; never raises."""
        try:
            async with asyncio.TaskGroup() as fetchers:
                self._fetchers = fetchers
                self.rescue(())
                self.set_concurrency(self._concurrency)
                if self._quick is not None:
                    self.announce(self._workers)  # theirs is the first step
                await asyncio.get_running_loop().create_future()  # until cancelled, also while nobody fetches here
        except asyncio.CancelledError:
            pass  # whoever ends the stream cancels this task; nobody awaits it
        except BaseExceptionGroup as group:
            self.fail(group.exceptions[0])
        finally:
            self._fetchers = None

    def set_concurrency(self, concurrency: int) -> None:
        """Have so many fetchers, once those beyond have done what they are at. On the loop.

        More would wait in line at the requests' account, and then so does everybody: 10 µs a sample.
        """
        self._concurrency = max(concurrency, 1)
        if self._quick is not None:
            return
        while self._fetchers is not None and self._begun < self._concurrency:
            self._begun += 1
            self._fetchers.create_task(self._fetch_in_order())

    @property
    def is_blocked(self) -> bool:
        """Whether fetching waits for the byte budget."""
        return self._line_length > 0

    def set_workers(self, workers: int) -> None:
        """Have so many decoders at a time, once those beyond have done what they are at; the plan counts them."""
        self._workers = workers
        if self._quick is not None:
            self._quick.set_workers(workers)
        self.announce(workers)

    def rescue(self, tickets: Iterable[int]) -> None:
        """Fetch these beside all others, and beyond the byte budget; on the loop.

        Their worker has died, and the batch that waits for them may be next: behind newer samples, whose bytes are only
        freed once that batch was taken, they would wait for ever. They hold a request each, so they are few at a time.
        """
        self._to_rescue += tickets
        if self._fetchers is not None:
            tickets, self._to_rescue = self._to_rescue, []
            for ticket in tickets:
                self._fetchers.create_task(self._fetch_or_fail(ticket, is_rescue=True))

    def fail(self, exc: BaseException) -> None:
        """A defect of ours: the consumer must hear of it instead of waiting."""
        error = InvariantError(f"the engine failed with {type(exc).__name__}: {exc}; please report this")
        error.__cause__ = exc
        self._wake(self._work.close(broken=error))

    def go_on(self) -> None:
        """More may be fetched; on the loop."""
        self.starved = False
        self._more.set()
        if self._quick is not None:
            self.announce(self._workers)

    async def _fetch_in_order(self) -> None:
        while self._begun <= self._concurrency:
            while (ticket := self._work.next_ticket()) is None:
                self._more.clear()
                self.starved = True
                if (ticket := self._work.next_ticket()) is not None:
                    break  # the consumer moved between the two looks
                await self._more.wait()
            await self._fetch_or_fail(ticket)
            self._in_a_row += 1
            if self._in_a_row >= _FETCHED_IN_A_ROW:
                self._in_a_row = 0
                await asyncio.sleep(0)
        self._begun -= 1

    async def _fetch_or_fail(self, ticket: int, *, is_rescue: bool = False) -> None:
        try:
            await self._fetch(ticket, is_rescue=is_rescue)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            self.fail(exc)  # before the group cancels the others, who would take it for their sample's fault
            raise

    async def _fetch(self, ticket: int, *, is_rescue: bool) -> None:
        sample = self._work.sample(ticket)
        reserved = self._sizes.known(sample)
        if is_rescue:
            reserved = reserved or 0
        elif self._line_length or reserved is None or not self._bodies.reserve_now(reserved):
            reserved = await self._reserve_in_line(sample)
        if not self._requests.reserve_now(1):
            await self._requests.reserve(1)
        if is_rescue:
            self._bodies.take_beyond(reserved)
        counters = self._counters
        started = monotonic()
        self.in_flight.begins(ticket, sample.key, "fetch", started)
        lane = counters.recorder.fetch
        is_recorded = started >= lane.next_s and lane.begin(started, sample.key)
        counters.in_flight += 1
        counters.in_flight_peak = max(counters.in_flight_peak, counters.in_flight)
        item, error = None, None
        try:
            body = await self._store.get(sample.key, sample.byte_range, sample)
            check_length(sample, len(body))
            self._bodies.correct(reserved, len(body))
            item = self._work.item(ticket, sample, body)
        except (OptionError, DatasetError) as exc:
            self._wake(self._work.close(broken=exc))  # the store cannot work at all: no sample's fault
            return
        except BaseException as exc:
            if self._is_ending(exc):
                raise
            error = self._named(exc, sample)
        finally:
            if is_recorded:
                lane.end(monotonic())
            counters.in_flight_seen += self._requests.used_by_all
            counters.in_flight -= 1
            self._sizes.saw(None if item is None else len(item.body))
            self._requests.release(1)
            self.in_flight.ends(ticket)
        if item is None:
            assert error is not None
            self._bodies.release(reserved)
            self._wake(self._work.failed(ticket, error))
            self.announce(1)  # the first sample's place as the one that sets the shapes may have moved on
            return
        item.fetch_s, item.nbytes = monotonic() - started, len(item.body)
        counters.fetch.latency.record(item.fetch_s)
        if item.fetch_s > counters.slowest.least_s:
            counters.slowest.add(sample.key, item.fetch_s, item.nbytes)
        counters.bytes_fetched += item.nbytes
        if self._recipe.decoder.is_async:
            await self._decode_on_loop(item)
        else:
            self._work.offer(item)
            self.announce(1)

    async def _reserve_in_line(self, sample: SampleRef) -> int:
        """Bytes reserved for its body, in its turn: else who has just seen a size would overtake older samples."""
        self._line_length += 1  # a lock that was let go is not `locked` before the next in line has run
        try:
            async with self._in_line:
                reserved = await self._sizes.expected(sample)
                await self._bodies.reserve(reserved)
                return reserved
        finally:
            self._line_length -= 1

    async def _decode_on_loop(self, item: Item) -> None:
        started = monotonic()
        lane = self._counters.recorder.decode
        is_recorded = started >= lane.next_s and lane.begin(started, item.sample.key)
        self.in_flight.begins(item.ticket, item.sample.key, "decode", started)
        try:
            self._work.enter_user_code(item.ticket)
            rng = self._recipe.rng(item.epoch, item.sample.index)
            item.decoded = await self._recipe.decoder.decode_async(item.body, item.sample, rng)
            # The arrays wait for their slot in the body's place.
            nbytes = sum(np.asarray(leaf).nbytes for _, leaf in flatten(item.decoded))
            if self._witnesses is not None and self._witnesses.is_wanted:
                await self._witnesses.decode_again(self._recipe, item)
        except BaseException as exc:
            if self._is_ending(exc):
                raise
            error = self._named(exc, item.sample, item)
            self._bodies.release(item.reserved_bytes)
            self._wake(self._work.failed(item.ticket, error))
            self.announce(1)
            return
        finally:
            if is_recorded:
                lane.end(monotonic())
            self._work.leave_user_code(item.ticket)
            self.in_flight.ends(item.ticket)
        item.decode_s = monotonic() - started
        self._bodies.correct(item.reserved_bytes, nbytes)
        item.body, item.reserved_bytes = b"", nbytes
        self._work.offer(item)
        self.announce(1)

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
        if self._work.closed or self._is_loop_ending():
            return True
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
        return False

    # -- decoding ----------------------------------------------------------------------------------------

    def announce(self, samples: int) -> None:
        """``samples`` more may have become decodable; from any thread."""
        if not self.is_inline:
            self._threads.announce(min(samples, self._workers))
        elif not self._inline_posted:
            self._inline_posted = True
            self._post(self._work_inline)

    def _work_inline(self) -> None:
        self._inline_posted = False
        for _ in range(_INLINE_RUN):
            if not self.work():
                return
        self.announce(1)

    def work(self) -> bool:
        """Decode the oldest sample that may be decoded; False if there is none."""
        try:
            item = self._work.take()
            while item is None and (quick := self._quick) is not None and quick.read_next():
                item = self._work.take()  # None again where another thread was quicker
        except BaseException as exc:  # no memory for a slab
            self.fail(exc)
            return False
        if item is None:
            self._work.idle()
            return False
        error = None
        first = item.slab is None
        started = monotonic()
        lane = self._counters.recorder.decode
        is_recorded = started >= lane.next_s and lane.begin(started, item.sample.key)
        self.in_flight.begins(item.ticket, item.sample.key, "decode", started)
        try:
            decode_item(self._recipe, item, self._work.settle)
        except SampleError as exc:
            error = exc
        except OptionError as exc:
            self._wake(self._work.close(broken=exc))
        except BaseException as exc:
            self.fail(exc)
        ended = monotonic()
        item.decode_s += ended - started
        if is_recorded:
            lane.end(ended)
        if self._witnesses is not None and (self._witnesses.is_wanted or item.again is not None) and error is None:
            self._witnesses.take(self._recipe, item)
        self.in_flight.ends(item.ticket)
        self._bodies.release(item.reserved_bytes)
        item.reserved_bytes = 0  # the first sample comes here twice where its slab is another process's to give
        self._wake(self._work.decoded(item, item.decode_s, error))
        if self.starved and self._work.has_more:
            self._post(self.go_on)
        if first:
            self.announce(self._workers)  # the shapes are known: all may decode
        return True

    def read_on_loop(self) -> None:
        """This disk takes its time: many reads at once, on the loop, from now on."""
        self._quick = None
        self.set_concurrency(self._concurrency)
        self.announce(self._workers)

    @staticmethod
    def _wake(waiter: Waiter | None) -> None:
        if waiter is not None:
            waiter()
