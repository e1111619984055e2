"""The one background event loop of the process, counted by leases.

Stores, fetchers and timers of every loader live on this loop, in one daemon thread; the thread starts with
the first lease and ends with the last. Callers' own loops are never used: a slow training step cannot delay a
fetch.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar

from aioloader.errors import LoaderClosedError
from aioloader.runtime.loop_thread import CLOSE_TIMEOUT_S, LoopThread, closed_under_way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from aioloader.runtime.loop_thread import Closable

T = TypeVar("T")

SIGNAL_CHECK_S = 0.5
"""How long a caller waits in one go: a Ctrl-C that arrives just as CPython's lock goes to sleep does not wake it."""


# Reentrant: a collection inside may run a generator's `finally` that closes another loader.
_lock = threading.RLock()
_current: LoopThread | None = None
_of_the_parent: list[LoopThread] = []
"""Kept in a forked child: uvloop complains when a loop that runs elsewhere is deallocated here."""


class LoopLease:
    """A share in the background loop; the loop lives while one is held.

    ``release`` may be called from any thread but the loop's own; ``release_soon`` from anywhere, finalizers
    included (it takes no lock and does not wait). Both are idempotent.
    """

    def __init__(self) -> None:
        global _current
        with _lock:
            if _current is None or _current.pid != os.getpid():
                _current = None
                thread = LoopThread()
                try:
                    thread.start()
                except BaseException:  # Ctrl-C: the thread may run already
                    thread.stop()
                    raise
                _current = thread
            self._thread = _current
            self._thread.leases += 1
        self._released = False
        self._dropped = False  # guarded by _lock

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The background loop."""
        return self._thread.loop

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child, where the loop's thread does not exist."""
        return self._thread.pid == os.getpid()

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the loop's thread so far."""
        return self._thread.cpu_s

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs on the background loop."""
        return self._thread.is_current

    @property
    def is_ending(self) -> bool:
        """Whether the background loop was told to end."""
        return self._thread.is_ending

    def check(self) -> None:
        """Raise `LoaderClosedError` where the lease cannot be used: released, or in a forked child."""
        if self._thread.pid != os.getpid():
            raise LoaderClosedError(
                f"this loader belongs to process {self._thread.pid} and does not work in a forked child; "
                "create the loader in the process that uses it, or start children with 'spawn'"
            )
        if self._released:
            raise LoaderClosedError("this loader is closed; create a new one")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run on the loop and wait, from a thread that is not the loop's. Ctrl-C cancels it.

        Raises what the coroutine raised, or `LoaderClosedError` if the loop ended under it.
        """
        try:
            self.check()
            if self._thread.is_current:
                raise RuntimeError("a blocking call was made on the background loop, which would wait for itself")
        except BaseException:
            coroutine.close()
            raise
        future: Future[T] = Future()
        try:
            self._start(coroutine, future)  # inside: Ctrl-C may come between the start and the wait
            while not future.done():
                with contextlib.suppress(TimeoutError):  # the wait's own: the coroutine's would be returned
                    future.exception(SIGNAL_CHECK_S)
            return future.result()
        except CancelledError:
            raise closed_under_way() from None
        except BaseException:
            future.cancel()
            raise

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run on the loop; the future's ``cancel`` cancels the task."""
        future: Future[T] = Future()
        self._start(coroutine, future)
        return future

    def _start(self, coroutine: Coroutine[Any, Any, T], future: Future[T]) -> None:
        async def carry() -> None:
            # InvalidStateError: the caller cancelled between two lines of this; raising would end the group.
            try:
                result = await coroutine
            except asyncio.CancelledError:
                raise
            except BaseException as exc:  # carried to the caller, not swallowed
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(exc)
            else:
                with contextlib.suppress(InvalidStateError):
                    future.set_result(result)

        def start() -> None:
            if future.cancelled():
                coroutine.close()
                return
            carrier = carry()
            try:
                task = self._thread.spawn(carrier)
            except RuntimeError:  # the group has ended
                carrier.close()
                coroutine.close()
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(closed_under_way())
                return

            def end(_: asyncio.Task[None]) -> None:
                coroutine.close()  # a task cancelled before its first step never awaited it
                if future.cancel():
                    future.set_running_or_notify_cancel()  # for those in `concurrent.futures.wait`

            def forward_cancel(done: Future[T]) -> None:
                if done.cancelled():
                    with contextlib.suppress(RuntimeError):  # the loop has ended: so has the task
                        self.loop.call_soon_threadsafe(task.cancel)

            task.add_done_callback(end)
            future.add_done_callback(forward_cancel)

        waited_for = self._thread.waited_for
        waited_for[future] = coroutine
        future.add_done_callback(lambda done: waited_for.pop(done, None))
        if not self.post(start):
            coroutine.close()
            future.cancel()

    def post(self, callback: Callable[..., object], *arguments: object) -> bool:
        """Call soon on the loop, from anywhere, a finalizer included.

        False if the loop has ended, or runs in the parent of this forked process.
        """
        if self._thread.pid != os.getpid():
            return False
        try:
            self.loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return False
        return True

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that the loop's group owns; only on the loop. ``coroutine`` must not raise."""
        return self._thread.spawn(coroutine)

    def hold(self, closable: Closable) -> None:
        """Count a user of ``closable``; only on the loop."""
        self._thread.hold(closable)

    def let_go(self, closable: Closable) -> Awaitable[None]:
        """Count one user less; the last one's going closes it. Only on the loop."""
        return self._thread.let_go(closable)

    def _drop(self) -> None:
        global _current
        with _lock:
            if self._dropped:
                return
            self._dropped = True
            self._thread.leases -= 1
            last = self._thread.leases == 0
            if last and _current is self._thread:
                _current = None
        if last:
            self._thread.stop()

    def release_soon(self) -> None:
        """Give the lease back without waiting."""
        if not self._released:
            self._released = True
            self.post(self._drop)

    def release(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Give the lease back; if it was the last, wait until the thread has ended, at most ``timeout_s``."""
        self._released = True
        if self._thread.pid != os.getpid():
            return
        self._drop()
        with _lock:
            ended = self._thread.leases == 0
        if ended:
            self._thread.join(timeout_s)


def run_on_loop(coroutine: Coroutine[Any, Any, T], *, using: Closable | None = None) -> T:
    """Run one coroutine on the background loop and wait for it; ``using`` is closed unless others hold it."""
    lease = LoopLease()

    async def run() -> T:
        if using is None:
            return await coroutine
        lease.hold(using)
        try:
            return await coroutine
        finally:
            await lease.let_go(using)

    try:
        return lease.run(run())
    finally:
        lease.release()


def _at_exit() -> None:
    thread = _current
    if thread is not None and thread.pid == os.getpid():
        thread.stop()
        thread.join()


def _after_fork_in_child() -> None:
    # The loop's thread does not exist in the child; a lock held at the fork would stay held.
    global _current, _lock
    if _current is not None:
        _of_the_parent.append(_current)
    _current = None
    _lock = threading.RLock()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
