"""What one open loader holds of the process, and how it is given back, from wherever that is asked for.

It knows no job: a loader's finalizer keeps it alive, and through its decoder a job may lead back to the loader.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine import shared as process
from aioloader.monitor.histogram import LatencyHistogram
from aioloader.monitor.stats import CacheCounts, EngineStats, freeze_latency
from aioloader.runtime.loop import SIGNAL_CHECK_S, LoopLease
from aioloader.runtime.wake import Wake
from aioloader.storage.caching import CachingStore
from aioloader.storage.origin_state import state_of

if TYPE_CHECKING:
    import weakref

    from aioloader.engine.processes.pool import ProcessPool
    from aioloader.engine.processes.recipe import PackedRecipe
    from aioloader.engine.shared import Shared
    from aioloader.engine.stream import Stream
    from aioloader.types import Store


class Holdings:
    """A lease of the loop, a share in the workers, and the connections of one store."""

    def __init__(self, store: Store, close_timeout_s: float) -> None:
        self.lease: LoopLease | None = None
        self.shared: Shared | None = None
        self.stream: weakref.ref[Stream] | None = None
        self.recipe: PackedRecipe | None = None
        """Set where workers are processes."""
        self._pool: ProcessPool | None = None
        self._store = store
        self._close_timeout_s = close_timeout_s
        self._leaving = False  # on the loop
        self._left = Wake()

    def take(self, workers: int = 1) -> tuple[LoopLease, Shared]:
        """Start the loop and the workers, or share those that run; once. Processes where there is a recipe."""
        if self.lease is None or self.shared is None:
            lease = LoopLease()
            try:
                self.shared = process.acquire()
            except BaseException:
                lease.release_soon()
                raise
            self.lease = lease
            lease.post(lease.hold, self._store)
            if self.recipe is not None:
                lease.post(self._take_pool, workers)
        return self.lease, self.shared

    def _take_pool(self, workers: int) -> None:
        # On the loop, where pools are closed: one that is being closed is never taken.
        assert self.shared is not None
        assert self.lease is not None
        self._pool = self.shared.process_pool()
        self.lease.hold(self._pool)
        self._pool.want(workers)

    def find_pool(self) -> ProcessPool:
        """The processes this loader shares in; on the loop, after `take`."""
        assert self._pool is not None
        return self._pool

    def engine_stats(self) -> EngineStats:
        """Any thread; where processes work, the lag of theirs: it is they who fetch."""
        if self._pool is not None:
            return self._pool.stats()
        lag = LatencyHistogram() if self.shared is None else self.shared.lag.histogram
        cache = replace(self._store.counts) if isinstance(self._store, CachingStore) else CacheCounts()
        requests = replace(state_of(self._store.origin).counts)
        return EngineStats(loop_lag=freeze_latency(lag), requests=requests, cache=cache)

    def start(self, stream: Stream) -> None:
        """Have the loop start ``stream``, unless all is being given back."""
        assert self.lease is not None  # the stream was made with it
        self.lease.post(self._start, stream)

    def _start(self, stream: Stream) -> None:
        if self._leaving:
            stream.state.close()
        assert self.shared is not None
        self.shared.lag.start()
        stream.start()

    def leave_soon(self) -> None:
        """Give everything back; takes no lock and waits for nothing, so finalizers may call it. Idempotent."""
        lease = self.lease
        if lease is not None and not lease.post(self._begin_leaving):
            self._left.set()

    def _begin_leaving(self) -> None:
        if not self._leaving and self.lease is not None and self.shared is not None:
            self._leaving = True
            self.lease.spawn(self._leave(self.lease, self.shared))

    async def _leave(self, lease: LoopLease, shared: Shared) -> None:
        stream = None if self.stream is None else self.stream()
        try:
            with contextlib.suppress(Exception):  # there is nobody to tell
                if stream is not None:
                    await stream.end()
                if self._pool is not None and self.recipe is not None:
                    self._pool.forget(self.recipe.number)
                    await lease.let_go(self._pool)
                if stream is not None:
                    # Nobody may wait for a collected loader's decoder, but the others must not starve for it.
                    lease.loop.call_later(self._close_timeout_s, stream.abandon_stuck, monotonic())
        finally:
            process.release(shared)
            try:
                await lease.let_go(self._store)
            finally:
                self._left.set()
                lease.release_soon()

    def wait_until_left(self, timeout_s: float) -> bool:
        """Whether everything on the loop was given back within ``timeout_s``; not on the loop itself."""
        deadline = monotonic() + timeout_s
        while not self._left.wait(min(SIGNAL_CHECK_S, max(deadline - monotonic(), 0))):
            if monotonic() >= deadline:
                return False
        return True
