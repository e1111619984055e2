"""What all loaders of the process share: decode threads, the byte budget, and a request limit for each origin."""

from __future__ import annotations

import os
import threading
from functools import cache

from aioloader.engine.budget import Budget
from aioloader.engine.lanes import DecodeThreads
from aioloader.engine.processes.pool import ProcessPool
from aioloader.monitor.lag import LoopLag
from aioloader.runtime.machine import available_bytes

_MOST_BODY_BYTES = 512_000_000
_MEMORY_SHARE = 4


@cache
def process_body_bytes() -> int:
    """Bytes of fetched bodies that wait for a decoder, all loaders together, unless a loader sets ``max_memory``: one
    part in four of the memory that was available when it was first asked for, and no more than 512 MB."""
    return max(min(_MOST_BODY_BYTES, available_bytes() // _MEMORY_SHARE), 1)


class Shared:
    """Made for the first open loader, ended with the last."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.users = 0  # guarded by _lock
        self.ended = False
        self.threads = DecodeThreads()
        self.bodies = Budget(process_body_bytes())
        self._origins: dict[str, Budget] = {}
        self._pool: ProcessPool | None = None
        self.lag = LoopLag()
        """Of the process's own loop; started and stopped there."""

    def process_pool(self) -> ProcessPool:
        """The worker processes; a new pool where the former has ended with its last user."""
        with _lock:
            if self._pool is None or self._pool.is_closed:
                self._pool = ProcessPool()
            return self._pool

    def requests_to(self, origin: str, concurrency: int) -> Budget:
        """The limit on requests in flight to ``origin``: the largest that a loader of this process asked for."""
        with _lock:
            budget = self._origins.setdefault(origin, Budget(concurrency))
            budget.grow(concurrency)
            return budget


# Reentrant: a collection inside may run a generator's `finally` that closes another loader.
_lock = threading.RLock()
_current: Shared | None = None


def acquire() -> Shared:
    """A share in the process's workers and budgets."""
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = Shared()
        _current.users += 1
        return _current


def release(shared: Shared) -> None:
    """Give the share back; the last one tells the threads to end."""
    global _current
    with _lock:
        shared.users -= 1
        last = shared.users == 0
        if last and _current is shared:
            _current = None
    if last:
        shared.ended = True
        shared.lag.stop()
        shared.threads.end()


def _after_fork_in_child() -> None:
    global _current, _lock
    _current = None
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
