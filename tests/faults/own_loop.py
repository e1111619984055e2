"""A server of the tests on a loop and thread of its own, for code that blocks."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager


@contextmanager
def on_own_loop(server: AbstractAsyncContextManager[Any]) -> Iterator[asyncio.AbstractEventLoop]:
    """The loop on which ``server`` is entered, and left at the end."""
    up, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            up.set()
            await ended.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # ends answers whose clients have left
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(10)
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
