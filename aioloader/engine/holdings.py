"""What one open loader holds of the process, and how it is given back, from wherever that is asked for.

It knows no job: a loader's finalizer keeps it alive, and through its decoder a job may lead back to the loader.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine import shared as process
from aioloader.engine.processes.comparison import unfit
from aioloader.engine.processes.introduction import NotIntroducedError
from aioloader.engine.pulse import Work
from aioloader.monitor.histogram import LatencyHistogram
from aioloader.monitor.stats import CacheCounts, EngineStats, RequestCounts, freeze_latency
from aioloader.runtime.loop import SIGNAL_CHECK_S, LoopLease
from aioloader.runtime.threads import DaemonThreads
from aioloader.runtime.wake import Wake
from aioloader.storage.cache.store import CachingStore
from aioloader.storage.policies.origin_state import state_of

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Coroutine
    from typing import Any

    from aioloader.engine.processes.pool import ProcessPool
    from aioloader.engine.processes.recipe import PackedRecipe
    from aioloader.engine.relay import Relay
    from aioloader.engine.shared import Shared
    from aioloader.engine.witnesses import Witnesses
    from aioloader.types import Store


class Holdings:
    """A lease of the loop, a share in the workers, and the connections of one store."""

    def __init__(self, store: Store, close_timeout_s: float) -> None:
        self.lease: LoopLease | None = None
        self.shared: Shared | None = None
        self.relay: weakref.ref[Relay] | None = None
        self.recipe: PackedRecipe | None = None
        """Set where workers are processes, or were to be."""
        self.is_leaving = False
        """Whether everything is being given back; set on the loop."""
        self._pool: ProcessPool | None = None
        self._store = store
        self._close_timeout_s = close_timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled_first: set[asyncio.Task[None]] = set()
        self._ran_threads = False
        self._counts_given_back = RequestCounts()
        self._cpu_given_back = 0.0, 0.0  # of loops, of decode threads
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
        if self._pool is None:
            self._pool = self.shared.process_pool()
            self._count_pool(-1)  # what it did before was not for us
            self.lease.hold(self._pool)
        self._pool.want(workers)

    async def introduce(
        self, pack: Callable[[], PackedRecipe], workers: int, patience_s: float, witnesses: Witnesses | None
    ) -> None:
        """Share in the processes, ``workers`` of them, and wait until they have loaded what ``pack`` packs, and until
        they make of ``witnesses`` what was made of them here.

        Raises `OptionError` where it cannot be packed, `NotIntroducedError` where they cannot work with it; then, as
        when it is cancelled, a share that was taken for it is given back.
        """
        if self.recipe is None or self._pool is None:  # what was packed before may have changed
            threads = DaemonThreads("aioloader-pack", max_threads=1)
            try:
                self.recipe = await threads.run(pack)
            finally:
                threads.close()
        is_new = self._pool is None
        self._ran_threads = self._ran_threads or is_new
        self._take_pool(workers)
        try:
            await self.find_pool().introduce(self.recipe, workers, patience_s)
            if witnesses is not None:
                await self._compare(self.recipe, witnesses, patience_s)
        except BaseException:
            if is_new:
                await self.give_pool_back()
            raise

    async def _compare(self, recipe: PackedRecipe, witnesses: Witnesses, patience_s: float) -> None:
        taken = await witnesses.wait()
        reason = unfit(taken, witnesses.largest_bytes)
        if reason:
            raise NotIntroducedError(reason)
        await self.find_pool().compare(recipe, taken, patience_s)

    async def give_pool_back(self) -> None:
        """Share in the processes no more; on the loop. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None and self.lease is not None and self.recipe is not None:
            pool.forget(self.recipe.number)
            self._ran_threads = True
            self._counts_given_back.add(pool.figures.request_counts())
            self._count_pool(1, pool)
            await self.lease.let_go(pool)

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, ends_early: bool = False) -> None:
        """A task that leaving waits for, or cancels (``ends_early``); on the loop. It must not raise."""
        assert self.lease is not None
        task = self.lease.spawn(coroutine)
        for tasks in (self._tasks, self._cancelled_first) if ends_early else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def find_pool(self) -> ProcessPool:
        """The processes this loader shares in; on the loop, after `take`."""
        assert self._pool is not None
        return self._pool

    def _count_pool(self, sign: int, pool: ProcessPool | None = None) -> None:
        loop_s, decode_s, _ = (pool or self.find_pool()).figures.work()
        self._cpu_given_back = self._cpu_given_back[0] + sign * loop_s, self._cpu_given_back[1] + sign * decode_s

    def work(self) -> Work:
        """What was done for this loader so far, by threads and by processes, those that were given back included.

        CPU is that of threads and processes which all loaders share. On the loop.
        """
        lease, shared, pool = self.lease, self.shared, self._pool
        assert lease is not None
        assert shared is not None
        requests = replace(state_of(self._store.origin).counts)
        requests.add(self._counts_given_back)
        cache = replace(self._store.counts) if isinstance(self._store, CachingStore) else CacheCounts()
        child_loop_cpu_s, child_decode_cpu_s = self._cpu_given_back
        if pool is not None:
            requests.add(pool.figures.request_counts())
            cache.add(pool.figures.cache_counts())
            its_loop_s, its_decode_s, _ = pool.figures.work()
            child_loop_cpu_s, child_decode_cpu_s = child_loop_cpu_s + its_loop_s, child_decode_cpu_s + its_decode_s
        lag = shared.lag.histogram
        return Work(
            loop_cpu_s=lease.cpu_s,
            decode_cpu_s=shared.threads.cpu_s,
            child_loop_cpu_s=child_loop_cpu_s,
            child_decode_cpu_s=child_decode_cpu_s,
            lags=lag.count,
            lag_s=lag.total_s,
            requests=requests,
            cache=cache,
        )

    def engine_stats(self) -> EngineStats:
        """Any thread; where processes work, the lag of theirs: it is they who fetch.

        Requests are sums over all that ever worked for this loader.
        """
        pool = self._pool
        if pool is not None:
            stats = pool.figures.stats()
            if self._ran_threads:
                stats.requests.add(state_of(self._store.origin).counts)
                stats.requests.add(self._counts_given_back)
            return stats
        lag = LatencyHistogram() if self.shared is None else self.shared.lag.histogram
        cache = replace(self._store.counts) if isinstance(self._store, CachingStore) else CacheCounts()
        requests = replace(state_of(self._store.origin).counts)
        requests.add(self._counts_given_back)
        return EngineStats(loop_lag=freeze_latency(lag), requests=requests, cache=cache)

    def start(self, relay: Relay) -> None:
        """Have the loop start ``relay``, unless all is being given back."""
        assert self.lease is not None  # it was made with it
        self.lease.post(self._start, relay)

    def _start(self, relay: Relay) -> None:
        if self.is_leaving:
            relay.close()
        assert self.shared is not None
        self.shared.lag.start()
        relay.start()

    def leave_soon(self) -> None:
        """Give everything back; takes no lock and waits for nothing, so finalizers may call it. Idempotent."""
        lease = self.lease
        if lease is not None and not lease.post(self._begin_leaving):
            self._left.set()

    def _begin_leaving(self) -> None:
        if not self.is_leaving and self.lease is not None and self.shared is not None:
            self.is_leaving = True
            self.lease.spawn(self._leave(self.lease, self.shared))

    async def _leave(self, lease: LoopLease, shared: Shared) -> None:
        relay = None if self.relay is None else self.relay()
        try:
            with contextlib.suppress(Exception):  # there is nobody to tell
                for task in list(self._cancelled_first):
                    task.cancel()
                if relay is not None:
                    await relay.end()
                if self._tasks:  # of going over to other workers
                    await asyncio.wait(self._tasks)
                await self._leave_pool(lease)
                if relay is not None and relay.is_stuck:
                    # Nobody may wait for a collected loader's decoder, but the others must not starve for it.
                    lease.loop.call_later(self._close_timeout_s, relay.abandon_stuck, monotonic())
        finally:
            process.release(shared)
            try:
                await lease.let_go(self._store)
            finally:
                self._left.set()
                lease.release_soon()

    async def _leave_pool(self, lease: LoopLease) -> None:
        # It stays known: a closed loader still has figures.
        if self._pool is not None and self.recipe is not None:
            self._pool.forget(self.recipe.number)
            await lease.let_go(self._pool)

    def wait_until_left(self, timeout_s: float) -> bool:
        """Whether everything on the loop was given back within ``timeout_s``; not on the loop itself."""
        deadline = monotonic() + timeout_s
        while not self._left.wait(min(SIGNAL_CHECK_S, max(deadline - monotonic(), 0))):
            if monotonic() >= deadline:
                return False
        return True
