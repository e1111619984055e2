"""A TCP proxy that cuts connections at random moments, before any server: it knows nothing of what passes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from tests.faults.own_loop import on_own_loop

if TYPE_CHECKING:
    from collections.abc import Iterator


class CuttingProxy:
    """At ``url`` what is at ``target``; ``share`` of the connections are cut, after at most ``within_bytes``;
    the first one is, in its first header.

    Half of them end by RST, half by FIN. Of the answers, a random part of the piece at which it is cut still passes. An
    async context manager, on the loop that enters it.
    """

    def __init__(self, target: str, *, seed: int, share: float, within_bytes: int) -> None:
        self._target = urlsplit(target)
        self._draw = random.Random(seed)
        self._within_bytes = within_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.share = share
        self.connections = 0
        self.cuts = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=4096)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._target._replace(netloc=f"127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        for listening in self._server.sockets:  # as FaultServer.down
            self._loop.remove_reader(listening.fileno())
        await _turns()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turns()

    def cut_all(self) -> None:
        """End every connection that is open now; from any thread."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def _cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        left = self._draw.randrange(self._within_bytes) if self._draw.random() < self.share else None
        if self.connections == 1:  # else there are seeds that cut nothing
            left = self._draw.randrange(1, min(self._within_bytes, 200))
        there: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                back, there = await asyncio.open_connection(self._target.hostname, self._target.port)
                up = asyncio.create_task(_pass_on(reader, there))
                try:
                    await self._answers(back, writer, left)
                finally:
                    up.cancel()
                    await asyncio.gather(up, return_exceptions=True)
        except asyncio.CancelledError:
            pass  # asyncio's streams would log it as an error
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            if there is not None:
                there.transport.abort()

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        while piece := await back.read(16384):
            if left is not None and len(piece) >= left:
                self.cuts += 1
                writer.write(piece[:left])
                await writer.drain()
                await asyncio.sleep(0.005)  # what passes is there before the end
                if self._draw.random() < 0.5:
                    wire: socket.socket = writer.get_extra_info("socket")
                    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            left = None if left is None else left - len(piece)
            writer.write(piece)
            await writer.drain()
        await asyncio.sleep(0.005)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(16384):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort()


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@contextmanager
def proxied(proxy: CuttingProxy) -> Iterator[CuttingProxy]:
    """``proxy`` on a loop of its own."""
    with on_own_loop(proxy):
        yield proxy
