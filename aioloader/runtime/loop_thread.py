"""One event loop in one daemon thread: how it starts, what it owns, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any, Protocol

from aioloader.errors import LoaderClosedError
from aioloader.runtime.cpu import ThreadClock

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

CLOSE_TIMEOUT_S = 5.0
"""How long an end is waited for; what is still running then is abandoned (the thread is a daemon)."""


class Closable(Protocol):
    """Something that holds connections or threads for a loop.

    One that uses another's (a folder of a store) names it in a ``shared_parts`` tuple, itself included where it
    holds some too: each part is closed with the last user of that part.
    """

    async def aclose(self) -> None:
        """Let them go; idempotent."""
        ...


def parts_of(closable: Closable) -> tuple[Closable, ...]:
    """What is counted for ``closable``: itself, or its ``shared_parts`` where it says that it has some."""
    parts: tuple[Closable, ...] = getattr(closable, "shared_parts", ())
    return parts or (closable,)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of the fastest kind there is: uvloop where the platform has it."""
    try:
        import uvloop  # not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def closed_under_way() -> LoaderClosedError:
    """What a caller hears whose loop ended under it."""
    return LoaderClosedError("this loader was closed while a call waited for it; create a new one")


class LoopThread:
    """One loop in one daemon thread. Everything but ``start`` and ``join`` runs on the loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = new_loop()
        self.leases = 0  # guarded by _lock
        self._held: dict[int, tuple[Closable, int]] = {}
        self._stop = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.waited_for: dict[Future[Any], Coroutine[Any, Any, Any]] = {}
        self._running = threading.Event()
        self._clock: ThreadClock | None = None
        self._thread = threading.Thread(target=self._run, name="aioloader-loop", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        self._thread.start()
        self._running.wait()

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the thread so far."""
        return 0.0 if self._clock is None else self._clock.seconds()

    def _run(self) -> None:
        self._clock = ThreadClock()
        asyncio.set_event_loop(self.loop)
        try:
            main = self.loop.create_task(self._main())
            while not main.done():
                # asyncio lets these out of the loop when any task raises them: a decoder's sub-task must not end us.
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    self.loop.run_until_complete(main)
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
            # A call posted while the loop was ending never ran: whoever waits for it must hear so.
            for future, coroutine in list(self.waited_for.items()):
                coroutine.close()
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(closed_under_way())

    async def _main(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._running.set()
            await self._stop.wait()
            group_tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in group_tasks:
                task.cancel()
        for closable, _ in list(self._held.values()):
            # CancelledError too: a close may await a task that was cancelled above.
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(closable.aclose(), CLOSE_TIMEOUT_S)
        self._held.clear()
        strays = asyncio.all_tasks() - {asyncio.current_task()}  # a library's own, cancelled above
        if strays:
            await asyncio.wait(strays, timeout=CLOSE_TIMEOUT_S)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task in the loop's own group. ``coroutine`` must not raise: it would end every other task."""
        assert self._group is not None
        return self._group.create_task(coroutine)

    def hold(self, closable: Closable) -> None:
        """Count a user of ``closable`` and of what it shares with others; on the loop."""
        for part in parts_of(closable):
            _, count = self._held.get(id(part), (part, 0))
            self._held[id(part)] = part, count + 1

    async def let_go(self, closable: Closable) -> None:
        """Count one user less; what has none left is closed. On the loop."""
        for part in parts_of(closable):
            await self._let_go(part)

    async def _let_go(self, closable: Closable) -> None:
        held = self._held.get(id(closable))
        if held is None:
            return
        if held[1] > 1:
            self._held[id(closable)] = closable, held[1] - 1
            return
        del self._held[id(closable)]
        try:
            with contextlib.suppress(Exception):  # the caller is gone; there is nobody to tell
                await asyncio.wait_for(closable.aclose(), CLOSE_TIMEOUT_S)
        except asyncio.CancelledError:
            self._held.setdefault(id(closable), (closable, 0))  # closed halfway: the loop's end does it again
            raise

    def stop(self) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self._stop.set)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    @property
    def is_ending(self) -> bool:
        """Whether `stop` was heard."""
        return self._stop.is_set()

    def join(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Wait for the thread's end, at most ``timeout_s``; not on the loop itself."""
        if not self.is_current:
            self._thread.join(timeout_s)
