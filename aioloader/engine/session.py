"""What one loader holds of the process while it is open: the loop, the store's connections, the workers."""

from __future__ import annotations

import contextlib
import logging
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from aioloader.engine import shared as process
from aioloader.engine.stream import Stream
from aioloader.errors import LoaderClosedError
from aioloader.runtime.loop import LoopLease

if TYPE_CHECKING:
    from aioloader.engine.job import Job
    from aioloader.engine.shared import Shared

log = logging.getLogger(__name__)


class Session:
    """Opens lazily with the first stream; at most one stream is live. It knows its loader's job, not its loader."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.closed = False
        self._lock = threading.Lock()
        self._lease: LoopLease | None = None
        self._shared: Shared | None = None
        self._stream: Stream | None = None

    def open(self, epoch: int, epochs_ahead: int) -> Stream:
        """The stream that stands at the start of ``epoch``: the one that ran ahead into it, or a new one."""
        with self._lock:
            lease, shared = self._begin()
            stream = self._stream
            if stream is not None:
                if not stream.state.closed and stream.state.next_epoch_and_step == (epoch, 0):
                    stream.extend(epoch + epochs_ahead)
                    return stream
                stream.owner = None  # its iterator sees that it was replaced
                stream.close()
            stream = self._stream = Stream(self.job, shared, lease, epoch, epoch + epochs_ahead)
            lease.post(stream.start)
            return stream

    def begin(self) -> None:
        """Start the loop and the workers if they are not running; blocks for a few milliseconds."""
        with self._lock:
            self._begin()

    def _begin(self) -> tuple[LoopLease, Shared]:
        if self.closed:
            raise LoaderClosedError("this loader is closed; create a new one")
        if self._lease is None or self._shared is None:
            declared = self.job.decoder.spec() if self.job.transform is None else None
            if declared is not None:
                self.job.workspace.settle(declared, self.job.samples.label_spec, None)
            self._lease = LoopLease()
            self._shared = process.acquire()
            self._lease.post(self._lease.hold, self.job.samples.store)
        self._lease.check()
        return self._lease, self._shared

    async def _end_stream(self) -> None:
        if self._stream is not None:
            await self._stream.end()

    async def _shut_down(self, lease: LoopLease, shared: Shared) -> None:
        try:
            await self._end_stream()
        finally:
            process.release(shared)
            await lease.let_go(self.job.samples.store)

    def close(self) -> None:
        """End the stream and give everything back; waits at most ``close_timeout_s``, then names what is left."""
        with self._lock:
            already, self.closed = self.closed, True
            lease, shared = self._lease, self._shared
        if already or lease is None or shared is None or not lease.is_of_this_process:
            return
        timeout_s = self.job.options.close_timeout_s
        future = lease.submit(self._shut_down(lease, shared))
        try:
            future.result(timeout_s)
        except FutureTimeoutError:
            log.warning("the loader's requests did not end within close_timeout_s=%g and were abandoned", timeout_s)
        if shared.ended:
            shared.threads.join(timeout_s)
        lease.release()

    def close_soon(self) -> None:
        """The same without waiting or locking, for finalizers."""
        lease, shared = self._lease, self._shared
        if self.closed or lease is None or shared is None or not lease.is_of_this_process:
            return
        self.closed = True

        async def shut_down_and_leave() -> None:
            with contextlib.suppress(Exception):  # there is nobody to tell
                await self._shut_down(lease, shared)
            lease.release_soon()

        def begin() -> None:
            lease.spawn(shut_down_and_leave())

        lease.post(begin)
