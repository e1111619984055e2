"""Bytes as users of other loaders get them: a kept-alive connection a thread, or aiohttp; no request is repeated."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from aioloader.errors import AioloaderError
from aioloader.redact import redact_url, shown_key
from aioloader.storage.http.root import HTTPRoot
from aioloader.storage.url import scheme_of

if TYPE_CHECKING:
    import aiohttp

    from aioloader.types import SampleRef

_TIMEOUT_S = 60


class Source(Protocol):
    """Where samples' bytes come from; used by many threads. A process makes its own."""

    def get(self, sample: SampleRef) -> bytes:
        """The sample's bytes; blocks."""
        ...

    async def get_async(self, sample: SampleRef) -> bytes:
        """The same on an event loop, which has to be the same for every call."""
        ...

    def close(self) -> None:
        """End what this thread's `get` opened."""
        ...

    async def aclose(self) -> None:
        """End what `get_async` opened."""
        ...


def source_of(root: str) -> Source:
    """The source for keys relative to ``root``: an ``http(s)://`` address, a folder, or a bucket."""
    scheme = scheme_of(root)
    if scheme in ("http", "https"):
        return _Web(HTTPRoot.parse(root))
    if scheme in (None, "file"):
        return _Folder(Path(unquote(urlsplit(root).path) if scheme else root))
    return _Bucket(root)


def refused(sample: SampleRef, status: int) -> AioloaderError:
    """The error of an answer that is no body."""
    return AioloaderError(f"{shown_key(sample.key)} was answered {status}")


class _Web(threading.local):
    def __init__(self, root: HTTPRoot) -> None:
        self._root = root
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._session: aiohttp.ClientSession | None = None

    def get(self, sample: SampleRef) -> bytes:
        parts = urlsplit(self._url(sample))
        where = parts.scheme, parts.netloc
        connection = self._connections.get(where)
        if connection is None:
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            connection = self._connections[where] = kind(parts.netloc, timeout=_TIMEOUT_S)
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection.request("GET", path, headers=self._headers(sample))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status not in (200, 206):
            raise refused(sample, answer.status)
        return body

    async def get_async(self, sample: SampleRef) -> bytes:
        import aiohttp
        from yarl import URL

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        url = URL(self._url(sample), encoded=True)
        async with self._session.get(url, headers=self._headers(sample)) as answer:
            if answer.status not in (200, 206):
                raise refused(sample, answer.status)
            return await answer.read()

    def close(self) -> None:
        while self._connections:
            self._connections.popitem()[1].close()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, sample: SampleRef) -> str:
        return sample.key if "://" in sample.key else str(self._root.url(sample.key))

    def _headers(self, sample: SampleRef) -> dict[str, str]:
        headers = {} if "://" in sample.key else dict(self._root.headers)
        if sample.byte_range is not None:
            headers["Range"] = f"bytes={sample.byte_range[0]}-{sample.byte_range[1] - 1}"
        return headers


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, sample: SampleRef) -> bytes:
        with (self._root / sample.key).open("rb") as file:
            if sample.byte_range is None:
                return file.read()
            file.seek(sample.byte_range[0])
            return file.read(sample.byte_range[1] - sample.byte_range[0])

    async def get_async(self, sample: SampleRef) -> bytes:
        return self.get(sample)  # a local read is shorter than handing it to a thread

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _Bucket:
    """S3, GCS and Azure by obstore's own client, with the credentials of the environment."""

    def __init__(self, root: str) -> None:
        from obstore.store import from_url

        self._root = root
        try:
            options: Any = {"allow_http": True}
            self._store: Any = from_url(root, client_options=options)
        except Exception as exc:
            raise AioloaderError(f"obstore cannot open {redact_url(root)}: {exc}") from exc

    def get(self, sample: SampleRef) -> bytes:
        import obstore

        if sample.byte_range is not None:
            start, end = sample.byte_range
            return bytes(obstore.get_range(self._store, sample.key, start=start, end=end))
        return bytes(obstore.get(self._store, sample.key).bytes())

    async def get_async(self, sample: SampleRef) -> bytes:
        import obstore

        if sample.byte_range is not None:
            start, end = sample.byte_range
            return bytes(await obstore.get_range_async(self._store, sample.key, start=start, end=end))
        answer = await obstore.get_async(self._store, sample.key)
        return bytes(await answer.bytes_async())

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass
