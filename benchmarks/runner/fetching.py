"""HTTP as an expert would write it for a loader that has none: kept-alive threads, or aiohttp on uvloop."""

from __future__ import annotations

import asyncio
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import uvloop

if TYPE_CHECKING:
    from collections.abc import Sequence


class ThreadConnections(threading.local):
    """One kept-alive connection a thread; `get` blocks."""

    def __init__(self, root: str) -> None:
        parts = urlsplit(root)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port)

    def get(self, url: str) -> bytes:
        """The body at ``url``."""
        self._connection.request("GET", urlsplit(url).path)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}: status {answer.status}")
        return body


def session(connections: int) -> aiohttp.ClientSession:
    """An aiohttp session without what a loader does not need: cookies, unpacking, timers, small reads."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        read_bufsize=2**18,
        raise_for_status=True,
    )


async def body_of(client: aiohttp.ClientSession, url: str) -> bytes:
    """The body at ``url``."""
    async with client.get(url) as answer:
        return await answer.read()


class LoopThread:
    """aiohttp on uvloop in a daemon thread, called from other threads by the batch."""

    def __init__(self, connections: int) -> None:
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._client = asyncio.run_coroutine_threadsafe(self._open(connections), self._loop).result()

    async def _open(self, connections: int) -> aiohttp.ClientSession:
        return session(connections)

    async def _gather(self, urls: Sequence[str]) -> list[bytes]:
        return await asyncio.gather(*(body_of(self._client, url) for url in urls))

    def get_all(self, urls: Sequence[str]) -> list[bytes]:
        """The bodies at ``urls``, fetched together; blocks until all are there."""
        return asyncio.run_coroutine_threadsafe(self._gather(urls), self._loop).result()


class BatchFetcher:
    """All bodies of a batch at once, by ``client``: "aiohttp", "threads" (``in_flight`` of them), or local files.

    Made where it is used: a forked or spawned worker makes its own.
    """

    def __init__(self, root: str, client: str, in_flight: int) -> None:
        self._loop = LoopThread(in_flight) if client == "aiohttp" and root.startswith("http") else None
        self._connections = ThreadConnections(root) if client == "threads" and root.startswith("http") else None
        self._pool = ThreadPoolExecutor(in_flight) if self._connections is not None else None

    def get_all(self, addresses: Sequence[str]) -> list[bytes]:
        """The bodies at ``addresses``, in that order."""
        if self._loop is not None:
            return self._loop.get_all(addresses)
        if self._pool is not None and self._connections is not None:
            return list(self._pool.map(self._connections.get, addresses))
        return [Path(address).read_bytes() for address in addresses]
