"""One loader's streams, one at a time, and the ending of all that it holds."""

from __future__ import annotations

import logging
import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.engine.holdings import Holdings
from aioloader.engine.processes.recipe import PackedRecipe
from aioloader.engine.processes.stream import ProcessStream
from aioloader.engine.stream import ThreadStream
from aioloader.errors import LoaderClosedError
from aioloader.tree import flatten

if TYPE_CHECKING:
    from aioloader.engine.job import Job
    from aioloader.engine.shared import Shared
    from aioloader.engine.stream import Stream
    from aioloader.monitor.stats import EngineStats
    from aioloader.runtime.loop import LoopLease

log = logging.getLogger(__name__)


class Session:
    """Opens lazily with the first stream; at most one stream is live. It knows its loader's job, not its loader."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.closed = False
        self.holdings = Holdings(job.store, job.options.close_timeout_s)
        self._stream: Stream | None = None
        # Reentrant: a collection inside may run a generator's `finally` that closes this very loader.
        self._lock = threading.RLock()

    def open(self, epoch: int, epochs_ahead: int) -> Stream:
        """The stream that stands at the start of ``epoch``: the one that ran ahead into it, or a new one."""
        with self._lock:
            lease, shared = self._begin()
            stream = self._stream
            if stream is not None:
                if stream.owner is None and not stream.state.closed and stream.state.next_epoch_and_step == (epoch, 0):
                    stream.extend(epoch + epochs_ahead)
                    return stream
                stream.owner = None  # its iterator sees that it was replaced
                stream.close()
            stream = self._stream = self._make_stream(lease, shared, epoch, epoch + epochs_ahead)
            self.holdings.stream = weakref.ref(stream)
            self.holdings.start(stream)
            return stream

    def _make_stream(self, lease: LoopLease, shared: Shared, first_epoch: int, last_epoch: int) -> Stream:
        if not self.job.options.use_multiprocessing:
            return ThreadStream(self.job, shared, lease, first_epoch, last_epoch)
        assert self.holdings.recipe is not None  # packed by `_begin`
        return ProcessStream(self.job, self.holdings.recipe, self.holdings.find_pool, lease, first_epoch, last_epoch)

    def begin(self) -> None:
        """Start the loop and the workers if they are not running; blocks for a few milliseconds."""
        with self._lock:
            self._begin()

    def _begin(self) -> tuple[LoopLease, Shared]:
        if self.closed:
            raise LoaderClosedError("this loader is closed; create a new one")
        if self.job.workspace.layout is None:
            self._declare_fields()
        self.job.workspace.open()
        if self.job.options.use_multiprocessing and self.holdings.recipe is None:
            self.holdings.recipe = PackedRecipe(self.job)
        lease, shared = self.holdings.take(self.job.options.workers)
        lease.check()
        return lease, shared

    def _declare_fields(self) -> None:
        job = self.job
        if job.spec is not None:
            job.workspace.settle(job.spec, job.samples.label_spec, None, by_decoder=False)
        elif job.transform is None and (declared := job.decoder.spec()) is not None:
            is_variable = any(leaf.is_variable for _, leaf in flatten(declared))
            job.workspace.settle(declared, job.samples.label_spec, None, by_decoder=not is_variable)

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
        if not self.holdings.wait_until_left(timeout_s):
            log.warning("the loader's requests did not end within close_timeout_s=%g and were abandoned", timeout_s)
        if self._stream is not None:
            self._stream.abandon_stuck(deadline)
        self.job.workspace.release()
        if shared.ended:
            shared.threads.join(deadline)
        lease.release(max(deadline - monotonic(), 0.1))
