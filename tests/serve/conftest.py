"""A folder of awkward names, a client of real buckets, and requests whose targets nobody tidies up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from aioloader.serve import LocalBucket


Until: TypeAlias = "Callable[[Callable[[], bool]], Awaitable[None]]"


@dataclass(frozen=True)
class Answer:
    """All of one response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Ask(Protocol):
    """One request for a key of a bucket; redirects are not followed, ``_`` in header names is ``-``."""

    async def __call__(self, bucket: LocalBucket, key: str, method: str = "GET", **headers: str) -> Answer: ...


class RawStatus(Protocol):
    """The status that exactly this request target gets."""

    async def __call__(self, bucket: LocalBucket, target: bytes) -> int: ...


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """Keys and bodies; sorted bytewise."""
    return {
        "empty.bin": b"",
        "large.bin": bytes(range(256)) * 3000,
        "train/cat/1.png": b"first cat",
        "train/cat/100%41.png": b"a per cent sign that is no escape",
        "train/cat/a b+c&d.png": b"space, plus and ampersand",
        "train/dog/a:b?c#d.png": b"delimiters",
        "train/dog/u\u0308\u00fc \u72ac.png": b"combining and composed letters",
    }


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """A folder with ``files``."""
    root = tmp_path / "bucket"
    for key, body in files.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return root


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Requests over one session without a limit of connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(bucket: LocalBucket, key: str, method: str = "GET", **headers: str) -> Answer:
            url = URL(bucket.url + quote(key), encoded=True)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, url, headers=named, allow_redirects=False) as response:
                return Answer(response.status, response.headers, await response.read())

        yield send


@pytest.fixture
def raw_status() -> RawStatus:
    """Requests as bytes on a socket."""

    async def send(bucket: LocalBucket, target: bytes) -> int:
        address = urlsplit(bucket.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: bucket\r\nConnection: close\r\n\r\n")
            status_line = await reader.readline()
            await reader.read()
            return int(status_line.split()[1])
        finally:
            writer.close()
            await writer.wait_closed()

    return send


@pytest.fixture
def until() -> Until:
    """Returns once a condition holds; fails after 5 s."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 (what a server counts has no event to wait for)
                await asyncio.sleep(0.01)

    return wait
