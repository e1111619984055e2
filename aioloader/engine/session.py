"""One loader's streams, one at a time, and the ending of all that it holds."""

from __future__ import annotations

import logging
import threading
import weakref
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.engine.hand_over import HandOver
from aioloader.engine.holdings import Holdings
from aioloader.engine.processes.recipe import PackedRecipe
from aioloader.engine.processes.stream import ProcessStream
from aioloader.engine.pulse import Pulse
from aioloader.engine.relay import Relay
from aioloader.engine.stream import ThreadStream
from aioloader.errors import LoaderClosedError
from aioloader.tree import flatten

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job
    from aioloader.engine.shared import Shared
    from aioloader.engine.stream import Stream
    from aioloader.monitor.stats import EngineStats
    from aioloader.monitor.timeline import Settings
    from aioloader.runtime.loop import LoopLease

log = logging.getLogger(__name__)

_KILLING_S: Final = 0.3


class Session:
    """Opens lazily with the first stream; at most one relay is live. It knows its loader's job, not its loader."""

    def __init__(self, job: Job) -> None:
        self.job = job
        """What the next stream will be made with; changed on the loop."""
        self.closed = False
        self.holdings = Holdings(job.store, job.options.close_timeout_s)
        self.hand_over = HandOver(self)
        self.hand_over.on_refused = job.controller.refused
        self._relay: Relay | None = None
        self._threads = job.options.workers
        """So many threads decoded before processes did."""
        # Reentrant: a collection inside may run a generator's `finally` that closes this very loader.
        self._lock = threading.RLock()
        self._relay_lock = threading.RLock()  # of `job` and `_relay` together, never held for long: the loop takes it

    def open(self, epoch: int, epochs_ahead: int) -> Relay:
        """Streams that stand at the start of ``epoch``: those that ran ahead into it, or a new one."""
        with self._lock:
            while True:
                job, recipe = self.job, self.holdings.recipe
                lease, shared = self._begin(job)
                if (
                    job.kind_is_open
                    and job.options.use_multiprocessing
                    and recipe is not None
                    and not recipe.is_of(job)
                ):
                    self._go_back(job, lease, "your decoder has changed since worker processes got it")
                    continue
                with self._relay_lock:
                    if self.job is job:
                        return self._open(job, lease, shared, epoch, epoch + epochs_ahead)

    def _open(self, job: Job, lease: LoopLease, shared: Shared, epoch: int, last_epoch: int) -> Relay:
        relay = self._relay
        if relay is not None:
            if relay.owner is None and not relay.has_ended and relay.next_epoch_and_step == (epoch, 0):
                relay.extend(last_epoch)
                return relay
            relay.owner = None  # its iterator sees that it was replaced
            relay.close()
        stream = self._make_stream(job, lease, shared, epoch, last_epoch, 0)
        relay = self._relay = Relay(stream, lease, self.holdings.spawn, self._try_hand_over)
        relay.pulse = Pulse(relay, job, self.holdings.work, self._apply)
        self.holdings.relay = weakref.ref(relay)
        self.holdings.start(relay)
        return relay

    def _go_back(self, old: Job, lease: LoopLease, reason: str) -> None:
        """To threads, for good, from the epoch on that is being opened: whatever was begun of it is left."""
        with self._relay_lock:
            if self.job is not old:
                return
            relay = self._relay
            self.job = self._with_workers(
                old, None if relay is None or relay.has_ended else relay, False, self._threads
            )
            if relay is not None:
                relay.owner = None
                relay.close()
        old.workspace.retire()

        async def let_go() -> None:
            if relay is not None:
                await relay.end()
            old.workspace.release()
            await self.holdings.give_pool_back()

        lease.post(lambda: self.holdings.spawn(let_go()))
        lease.post(old.controller.went_back, self._threads, reason)

    def _make_stream(
        self, job: Job, lease: LoopLease, shared: Shared, epoch: int, last_epoch: int, step: int
    ) -> Stream:
        if not job.options.use_multiprocessing:
            return ThreadStream(job, shared, lease, epoch, last_epoch, step)
        assert self.holdings.recipe is not None  # packed by `_begin`
        return ProcessStream(job, self.holdings.recipe, self.holdings.find_pool, lease, epoch, last_epoch, step)

    def begin(self) -> None:
        """Start the loop and the workers if they are not running; blocks for a few milliseconds."""
        with self._lock:
            self._begin(self.job)

    def _begin(self, job: Job) -> tuple[LoopLease, Shared]:
        if self.closed:
            raise LoaderClosedError("this loader is closed; create a new one")
        if job.workspace.layout is None:
            self._declare_fields(job)
        job.workspace.open()
        if job.options.use_multiprocessing and self.holdings.recipe is None:
            self.holdings.recipe = PackedRecipe(job)
        lease, shared = self.holdings.take(job.options.workers)
        lease.check()
        return lease, shared

    def _declare_fields(self, job: Job) -> None:
        if job.spec is not None:
            job.workspace.settle(job.spec, job.samples.label_spec, None, by_decoder=False)
        elif job.transform is None and (declared := job.decoder.spec()) is not None:
            is_variable = any(leaf.is_variable for _, leaf in flatten(declared))
            job.workspace.settle(declared, job.samples.label_spec, None, by_decoder=not is_variable)

    # -- what a tuner turns, on the loop -----------------------------------------------------------------------

    def _apply(self, settings: Settings) -> None:
        options = self.job.options
        if settings.concurrency != options.concurrency:
            self.set_concurrency(settings.concurrency)
        if settings.max_queue_size != options.max_queue_size:
            self.set_queue(settings.max_queue_size)
        wanted = settings.use_multiprocessing, settings.workers
        if wanted != (options.use_multiprocessing, options.workers) and not self.hand_over.is_under_way:
            self.switch(*wanted)

    @property
    def is_ending(self) -> bool:
        """Whether nothing may be begun any more, or nothing was yet."""
        return self.closed or self.holdings.is_leaving or self.holdings.lease is None

    def switch(self, use_multiprocessing: bool, workers: int) -> None:
        """Go on with so many workers of that kind as soon as it can be; returns at once.

        What came of it is told to ``hand_over.on_switched`` or ``hand_over.on_refused``.
        """
        self.hand_over.begin(use_multiprocessing=use_multiprocessing, workers=workers)

    def stay_near(self, *, is_near: bool) -> None:
        """Begin little ahead of the consumer, or as much as ever: what was begun has to be finished by who began it.

        Decoders that take turns need seconds for 8 samples a request.
        """
        with self._relay_lock:
            relay = self._relay
        if relay is not None and not relay.has_ended:
            near = max(relay.concurrency, 2 * self.job.plan.batch_size)
            relay.streams[-1].state.set_near(near if is_near else None)
            relay.room_changed()

    def set_workers(self, workers: int) -> None:
        """So many decoders from now on: threads at once, processes by a `switch`."""
        if self.job.options.use_multiprocessing:
            self.switch(True, workers)
            return
        with self._relay_lock:
            self.job = replace(self.job, options=replace(self.job.options, workers=workers))
            relay = self._relay
        if relay is not None and not relay.has_ended:
            relay.set_workers(workers)

    def set_queue(self, max_queue_size: int) -> None:
        """So many finished batches from now on, as far as memory allows."""
        with self._relay_lock:
            self.job = replace(self.job, options=replace(self.job.options, max_queue_size=max_queue_size))
            relay = self._relay
        self.job.workspace.set_queue(max_queue_size)
        if relay is not None and not relay.has_ended:
            for stream in relay.streams:
                stream.job.workspace.set_queue(max_queue_size)
            relay.room_changed()

    def set_concurrency(self, concurrency: int) -> None:
        """So many requests in flight from now on."""
        with self._relay_lock:
            options = replace(self.job.options, concurrency=concurrency, look_ahead=self.job.look_ahead(concurrency))
            self.job = replace(self.job, options=options)
            relay = self._relay
        if relay is not None and not relay.has_ended:
            relay.set_concurrency(concurrency)

    def _try_hand_over(self) -> None:
        lease = self.holdings.lease
        if self.hand_over.waits and lease is not None:
            lease.post(self.hand_over.try_now)

    def go_on_with(self, use_multiprocessing: bool, workers: int, finished: Callable[[], None]) -> bool:
        """Hand over to other workers, which are ready; on the loop. False where that cannot be now.

        ``finished`` is called when what the former had was let go.
        """
        lease, shared = self.holdings.lease, self.holdings.shared
        assert lease is not None
        assert shared is not None
        with self._relay_lock:
            relay, old = self._relay, self.job
            live = None if relay is None or relay.is_closed else relay
            if live is not None and old.workspace.ring is None:
                return False  # the first sample may still be on its way
            job = self._with_workers(old, live, use_multiprocessing, workers)

            async def let_go() -> None:
                if job.workspace is not old.workspace:
                    old.workspace.release()
                if not use_multiprocessing:
                    await self.holdings.give_pool_back()
                finished()

            async def let_go_after(ended: Relay | None) -> None:
                if ended is not None:
                    await ended.end()
                await let_go()

            def make(epoch: int, step: int, last_epoch: int) -> Stream:
                return self._make_stream(job, lease, shared, epoch, last_epoch, step)

            if live is None:
                self.holdings.spawn(let_go_after(relay))
            elif not live.hand_over(make, let_go):
                if job.workspace is not old.workspace:
                    job.workspace.release()
                return False
            self.job = job
        if not old.options.use_multiprocessing:
            self._threads = old.options.workers
        if job.workspace is not old.workspace:
            old.workspace.retire()
        return True

    def _with_workers(self, old: Job, live: Relay | None, use_multiprocessing: bool, workers: int) -> Job:
        options = replace(old.options, use_multiprocessing=use_multiprocessing, workers=workers)
        if live is not None:
            stream = live.streams[-1]  # feedback may have found other numbers
            options = replace(options, concurrency=stream.concurrency, look_ahead=stream.state.look_ahead)
        workspace = old.workspace
        if use_multiprocessing != old.options.use_multiprocessing:
            workspace = workspace.successor(in_shared_memory=use_multiprocessing)
        return replace(old, options=options, workspace=workspace)

    def engine_stats(self) -> EngineStats:
        """What the loop and the worker processes say of themselves; all zero before anything runs."""
        return self.holdings.engine_stats()

    def close(self) -> None:
        """End the stream and give everything back; waits at most ``close_timeout_s``, then names what is left.

        On the background loop itself, where a collected generator may call it, it does not wait.
        """
        self.holdings.leave_soon()  # first: Ctrl-C from here on finds it begun
        with self._lock:
            self.closed = True
        self.holdings.leave_soon()  # what was opened in between
        lease, shared = self.holdings.lease, self.holdings.shared
        if lease is None or shared is None or not lease.is_of_this_process or lease.is_current_thread:
            return
        timeout_s = self.job.options.close_timeout_s
        deadline = monotonic() + timeout_s
        # A little longer: processes that do not come back are killed, and named, when their own time is up.
        if not self.holdings.wait_until_left(timeout_s + _KILLING_S):
            log.warning("the loader's requests did not end within close_timeout_s=%g and were abandoned", timeout_s)
        if self._relay is not None:
            self._relay.abandon_stuck(deadline)
        self.job.workspace.release()
        if shared.ended:
            shared.threads.join(deadline)
        lease.release(max(deadline - monotonic(), 0.1))
