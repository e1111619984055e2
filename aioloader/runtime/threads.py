"""A few daemon threads for calls that block, awaited from the loop.

Not `concurrent.futures.ThreadPoolExecutor`: its threads are joined at interpreter exit, so one read that hangs
on a dead mount would hang the exit too.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_Job = Callable[[], None]


class DaemonThreads:
    """At most ``max_threads`` threads, started when needed; used from one event loop."""

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._lock = threading.Lock()

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """``function(*arguments)`` in a thread. Cancelling abandons the call: it runs on, unheard."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only where T is None

        def job() -> None:
            try:
                result, error = function(*arguments), None
            except BaseException as exc:  # carried to the awaiting task
                result, error = None, exc
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(deliver, result, error)

        self._jobs.put(job)
        with self._lock:
            if self._idle == 0 and len(self._threads) < self._max_threads:
                thread = threading.Thread(
                    target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        return await future

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                return
            job()

    def close(self) -> None:
        """End the threads once their running calls return; does not wait. Idempotent."""
        with self._lock:
            threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
