"""A few daemon threads for calls that block, awaited from the loop.

Not `concurrent.futures.ThreadPoolExecutor`: its threads are joined at interpreter exit, so one read that
hangs on a dead mount would hang the exit too.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")

_Delivery = Callable[[], object]
_Job = Callable[[], _Delivery]


class _Crew:
    """The threads between two closes, with a queue of their own.

    Shared with the next crew, the end mark of a thread that hangs through a close would end a new thread.
    """

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.unfinished = 0  # jobs queued or running


class DaemonThreads:
    """At most ``max_threads`` threads, started when needed; used from one event loop."""

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._crew = _Crew()
        self._lock = threading.Lock()

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """``function(*arguments)`` in a thread; raises what it raises.

        Cancelling abandons the call: one that has begun runs on, unheard; one still queued is dropped.
        """
        return await self.start(function, *arguments)

    def start(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """The same without waiting; on the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def succeed(result: T) -> None:
            if not future.done():
                future.set_result(result)

        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def job() -> _Delivery:
            if future.cancelled():
                return lambda: None
            try:
                result = function(*arguments)
            except StopIteration as exc:
                # A future refuses it: awaiting would read as the end of a generator.
                error = RuntimeError(f"{function!r} raised StopIteration")
                error.__cause__ = exc
                return partial(loop.call_soon_threadsafe, fail, error)
            except BaseException as exc:  # carried to the awaiting task
                return partial(loop.call_soon_threadsafe, fail, exc)
            return partial(loop.call_soon_threadsafe, succeed, result)

        with self._lock:
            crew = self._crew
            crew.unfinished += 1
            crew.jobs.put(job)
            # Counted in jobs, not in idle threads: one that was told to wake still counts as idle.
            if len(crew.threads) < min(crew.unfinished, self._max_threads):
                thread = threading.Thread(
                    target=self._work, args=(crew,), name=f"{self._name}-{len(crew.threads)}", daemon=True
                )
                crew.threads.append(thread)
                thread.start()
        return future

    def _work(self, crew: _Crew) -> None:
        while (job := crew.jobs.get()) is not None:
            deliver = job()
            with self._lock:
                crew.unfinished -= 1  # before the delivery: who hears of it may call again at once
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                deliver()
            del job, deliver  # they hold the arguments and the result: do not keep them while idle

    def close(self) -> None:
        """End the threads once the calls queued so far return; does not wait.

        Idempotent; a later `run` starts new threads.
        """
        with self._lock:
            crew, self._crew = self._crew, _Crew()
        for _ in crew.threads:
            crew.jobs.put(None)
