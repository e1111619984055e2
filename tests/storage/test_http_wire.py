"""The connection of the fast transport, without a network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

pytest.importorskip("httptools")

from aioloader.storage.http.wire import AHEAD_BYTES, Wire  # it imports httptools

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class RecordingTransport(asyncio.Transport):
    """Remembers what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append("write")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return "abort" in self.calls


def connected(on_free: Callable[[Wire], None] = lambda wire: None) -> tuple[Wire, RecordingTransport]:
    """A connection on the running loop."""
    wire = Wire(asyncio.get_running_loop(), on_free, lambda wire: None)
    transport = RecordingTransport()
    wire.connection_made(transport)
    return wire, transport


async def test_reading_pauses_when_nobody_takes_the_pieces_and_goes_on_when_somebody_does() -> None:
    wire, transport = connected()
    answer = wire.ask(b"GET", bodiless=False)
    wire.data_received(CHUNKED)
    await answer.waiter
    piece = b"20000\r\n" + b"x" * 0x20000 + b"\r\n"
    for _ in range(AHEAD_BYTES // 0x20000 + 1):
        wire.data_received(piece)
    assert transport.calls == ["write", "pause"]
    taken = len(await answer.read(1 << 30))
    assert taken > AHEAD_BYTES
    reading = asyncio.ensure_future(answer.read(10))
    await asyncio.sleep(0)
    assert transport.calls == ["write", "pause", "resume"]
    wire.data_received(b"3\r\nabc\r\n0\r\n\r\n")
    assert await reading == b"abc"
    assert answer.at_eof()


async def test_what_came_before_the_end_is_read_first_and_then_the_error_is_raised() -> None:
    wire, _ = connected()
    answer = wire.ask(b"GET", bodiless=False)
    wire.data_received(CHUNKED + b"3\r\nabc\r\n")
    await answer.waiter
    wire.connection_lost(None)
    assert await anext(answer.iter_any()) == b"abc"
    for _ in range(2):
        with pytest.raises(aiohttp.ClientPayloadError):
            await anext(answer.iter_any())


async def test_a_whole_answer_frees_the_connection_once_before_it_is_read() -> None:
    freed: list[Wire] = []
    wire, transport = connected(freed.append)
    answer = wire.ask(b"GET", bodiless=False)
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
    assert not answer.waiter.done()
    wire.data_received(b"c")
    assert freed == [wire]
    await answer.waiter
    answer.close()
    assert await answer.read() == b"abc"
    assert transport.calls == ["write"]


async def test_the_end_of_the_connection_wakes_who_waits() -> None:
    for exc, expected in ((None, aiohttp.ServerDisconnectedError), (ConnectionResetError(), ConnectionResetError)):
        wire, _ = connected()
        answer = wire.ask(b"GET", bodiless=False)
        wire.connection_lost(exc)
        with pytest.raises(expected):
            await answer.waiter
        assert wire.lost.done()
        assert not wire.usable
