"""The consumer's end of a stream: one epoch's batches, for a thread or for a coroutine."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Self

from aioloader.engine.deliver import check_rate, deliver, skipped_slots
from aioloader.engine.patience import Patience
from aioloader.engine.stall_trace import StallTrace
from aioloader.errors import InvariantError, LoaderClosedError, StalledError, StreamReplacedError
from aioloader.runtime.wake import Wake

if TYPE_CHECKING:
    from aioloader.engine.job import Job
    from aioloader.engine.relay import Relay
    from aioloader.engine.session import Session
    from aioloader.engine.state import Waiter
    from aioloader.engine.step import Step
    from aioloader.types import Batch


def _close_if_owned(relay_ref: weakref.ref[Relay], token: object) -> None:
    # Weak: the finalizer is a root, and through a decoder the streams may lead back to the iterator.
    relay = relay_ref()
    if relay is not None and relay.owner is token:
        relay.close_soon()


class _Epoch:
    """What both iterators share: ownership, the count of steps, the ending."""

    def __init__(self, session: Session, epoch: int, epochs_ahead: int, keep_alive: object) -> None:
        self._session = session
        self._relay = session.open(epoch, epochs_ahead)
        self._token = object()
        self._relay.owner = self._token
        self._epoch = epoch
        self._left = session.job.plan.steps
        self._delivered = 0
        self._skipped = 0
        self._is_closed = False
        self._keep_alive = keep_alive  # the loader: `for batch in Loader(...)` must not collect it
        self._finalizer = weakref.finalize(self, _close_if_owned, weakref.ref(self._relay), self._token)
        self._finalizer.atexit = False

    @property
    def epoch(self) -> int:
        """The epoch's number, from 0."""
        return self._epoch

    def close(self) -> None:
        """End it now: requests are cancelled, nothing is left within a second. Idempotent."""
        self._left = 0
        self._is_closed = True
        if self._finalizer.detach() and self._relay.owner is self._token:
            self._relay.close()

    def _check(self) -> bool:
        """Whether a batch is left; raises where the stream is no longer this iterator's."""
        if self._left == 0:
            return False
        lease = self._session.holdings.lease
        if lease is not None and not lease.is_of_this_process:
            lease.check()
        if self._session.closed:
            raise LoaderClosedError("the loader was closed while this epoch was being read")
        if self._relay.owner is not self._token:
            self._left = 0
            self._is_closed = True
            raise StreamReplacedError(
                f"epoch {self._epoch} ended: another iterator of this loader was opened. "
                "Use one iterator at a time, or a second Loader."
            )
        return True

    def _pop(self, waiter: Waiter) -> tuple[Job, Step] | None:
        try:
            return self._relay.pop(waiter)
        except LoaderClosedError:
            self._check()  # replaced, or the loader closed, since the last look: that is said first
            raise

    def _take(self, popped: tuple[Job, Step], asked_at: float) -> Batch:
        job, step = popped
        try:
            batch = deliver(job, step)
        except BaseException:
            job.workspace.take_back(step)
            self.close()
            raise
        job.counters.received(asked_at, step.n_real, skipped_slots(step))
        self._delivered += step.slots
        self._skipped += skipped_slots(step)
        self._left -= 1
        if self._left == 0:
            job.counters.epochs += 1
            self._finalizer.detach()
            self._relay.owner = None  # read to its end: the next iterator may go on with it
            if self._relay.last_epoch <= self._epoch:
                self._relay.close()
        return batch

    def _check_epoch(self) -> None:
        """Once, after the last batch: every slot that was planned was delivered, and not too many by stand-ins."""
        job = self._session.job
        if self._left == 0 and self._delivered:
            delivered, self._delivered = self._delivered, 0
            if delivered != job.plan.slots_per_epoch and not self._is_closed:
                raise InvariantError(
                    f"epoch {self._epoch} delivered {delivered} of {job.plan.slots_per_epoch} slots; please report this"
                )
            if not self._is_closed:
                check_rate(job, self._skipped, job.plan.slots_per_epoch)

    def _patience(self, asked_at: float) -> Patience:
        return Patience(self._session.job.options.stall_timeout_s, asked_at)

    def _trace_stall(self) -> tuple[str, StallTrace]:
        """What was in flight, and a file with what was done, on its way to disk."""
        description = self._relay.describe_in_flight()
        return description, StallTrace(self._session.job, description)

    def _give_up(self, description: str, trace: str) -> NoReturn:
        self.close()
        self._relay.abandon_stuck(monotonic())
        raise StalledError(
            f"no sample was fetched or decoded for stall_timeout_s={self._session.job.options.stall_timeout_s:g}: "
            f"{description}. Check the store and the decoder, or raise stall_timeout_s.{trace}"
        )


class EpochIterator(_Epoch):
    """One epoch's batches, pulled from a thread. Ctrl-C interrupts a wait at once."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        counters = self._session.job.counters
        asked_at = counters.asked()
        try:
            return self._next(asked_at)
        finally:
            counters.answered()

    def _next(self, asked_at: float) -> Batch:
        patience = self._patience(asked_at)
        ready = Wake()
        while self._check():
            ready.clear()
            try:
                popped = self._pop(ready.set)
                if popped is not None:
                    return self._take(popped, asked_at)
            except BaseException:
                self.close()  # Ctrl-C between the two would lose a step to a caller who goes on
                raise
            slice_s = patience.next_slice(self._relay.last_progress)
            if slice_s is None:
                description, trace = self._trace_stall()
                self._give_up(description, trace.wait())
            ready.wait(slice_s)
            patience.waited()
        self._check_epoch()
        raise StopIteration


class AsyncEpochIterator(_Epoch):
    """One epoch's batches, awaited on any loop. A cancelled wait loses nothing: the batch stays for the next."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        counters = self._session.job.counters
        asked_at = counters.asked()
        try:
            return await self._next(asked_at)
        finally:
            counters.answered()

    async def _next(self, asked_at: float) -> Batch:
        patience = self._patience(asked_at)
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def announce() -> None:
            with contextlib.suppress(RuntimeError):  # the consumer's loop has ended
                loop.call_soon_threadsafe(ready.set)

        while self._check():
            ready.clear()
            popped = self._pop(announce)
            if popped is not None:
                return self._take(popped, asked_at)
            slice_s = patience.next_slice(self._relay.last_progress)
            if slice_s is None:
                description, trace = self._trace_stall()
                self._give_up(description, await trace.wait_async())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(slice_s):
                    await ready.wait()
            patience.waited()
        self._check_epoch()
        raise StopAsyncIteration
