"""The bucket in a thread of its own, for callers without a loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aioloader.runtime.loop_thread import new_loop
from aioloader.serve.bucket import LocalBucket

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from aioloader.serve.manners import Manners

_JOIN_TIMEOUT_S = 5.0


@contextmanager
def serve_in_thread(
    folder: str | os.PathLike[str],
    manners: Manners | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[LocalBucket]:
    """A running `LocalBucket` with its own loop and thread; both end with the ``with`` block.

    Its ``url``, ``requests`` and ``statistics()`` may be read from any thread. The thread shares the
    interpreter's lock with the caller: a benchmark that saturates it should use ``aioloader serve`` instead.
    Raises `OptionError` for a folder, host or port that cannot be served.
    """
    bucket = LocalBucket(folder, manners, host=host, port=port)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    ended: Future[None] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with bucket:
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(serve())
        except BaseException as exc:  # carried to the caller
            (ended if started.done() else started).set_exception(exc)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=run, name="aioloader-serve", daemon=True)
    thread.start()
    loop, stop = started.result()
    try:
        yield bucket
    finally:
        loop.call_soon_threadsafe(stop.set)
        ended.result(timeout=_JOIN_TIMEOUT_S)
        thread.join(_JOIN_TIMEOUT_S)
