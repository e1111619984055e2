"""Bare fetching: aiohttp on uvloop with as many tasks as requests, or HTTP/1.1 by hand on uvloop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvloop
from runner.fetching import body_of, session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.job import Job


def fetch_share(job: Job, ids: list[int], at_the_line: Callable[[], None]) -> tuple[list[int], int]:
    """The ids whose whole bodies came; no checksum."""
    in_flight = max(job.options["in_flight"] // job.options["processes"], 1)
    by = by_protocol if job.options["what"] == "protocol" else by_aiohttp
    at_the_line()
    return uvloop.run(by(job, ids, in_flight)), -1


async def by_aiohttp(job: Job, ids: list[int], in_flight: int) -> list[int]:
    """``in_flight`` tasks that take the next address in turn."""
    done: list[int] = []
    waiting = iter(ids)
    async with session(in_flight) as client:

        async def fetcher() -> None:
            done.extend([index for index in waiting if await body_of(client, job.address(index))])

        await asyncio.gather(*(fetcher() for _ in range(in_flight)))
    return done


class Connection(asyncio.Protocol):
    """Sends one request after another and keeps nothing of an answer but its body."""

    def __init__(self, requests: Iterator[tuple[int, bytes]], done: list[int], at_end: Callable[[], None]) -> None:
        self._requests = requests
        self._done = done
        self._at_end = at_end
        self._parts: list[bytes] = []
        self._missing = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: Any = transport  # uvloop's is no asyncio.Transport
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._index, line = request
        self._transport.write(line)

    def data_received(self, data: bytes) -> None:
        """Head and body parts; the body is joined, as anyone who wants to read it must."""
        if self._missing < 0:
            self._parts.append(data)
            head, end, body = b"".join(self._parts).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode("latin-1"))
            lowered = head.lower()
            at = lowered.index(b"content-length:") + 15
            length = int(lowered[at : (lowered + b"\r").index(b"\r", at)])
            self._missing = length - len(body)
            self._parts = [body]
        else:
            self._parts.append(data)
            self._missing -= len(data)
        if self._missing == 0:
            if b"".join(self._parts):
                self._done.append(self._index)
            self._parts, self._missing = [], -1
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by us or by the server."""
        self._at_end()


async def by_protocol(job: Job, ids: list[int], in_flight: int) -> list[int]:
    """``in_flight`` connections."""
    loop, parts = asyncio.get_running_loop(), urlsplit(job.root)
    done: list[int] = []
    open_connections, ended = in_flight, asyncio.Event()

    def at_end() -> None:
        nonlocal open_connections
        open_connections -= 1
        if not open_connections:
            ended.set()

    paths = ((index, urlsplit(job.address(index)).path) for index in ids)
    requests = ((index, f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()) for index, path in paths)
    await asyncio.gather(
        *(
            loop.create_connection(lambda: Connection(requests, done, at_end), parts.hostname, parts.port)
            for _ in range(in_flight)
        )
    )
    await ended.wait()
    return done
