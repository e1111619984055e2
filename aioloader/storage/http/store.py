"""Objects on a web server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aioloader.errors import ObjectNotFoundError, OptionError
from aioloader.storage.http.options import (
    CONNECT_TIMEOUT_S,
    FLOOR_BYTES_PER_S,
    FLOOR_WINDOW_S,
    IDLE_TIMEOUT_S,
    MAX_CONNECTIONS,
    MAX_OBJECT_BYTES,
    TRANSPORT,
    HeaderSource,
    HTTPOptions,
    require_private_channel,
)
from aioloader.storage.http.root import HTTPRoot
from aioloader.storage.pages import ask_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yarl import URL

    from aioloader.storage.http.fetch import HTTPFetcher
    from aioloader.types import Asker, ByteRange, ObjectMeta, Partial


class HTTPStore:
    """Objects below an ``http(s)://`` address; listed by ``index.jsonl`` or by directory pages.

    ``HTTPStore(...)`` says how to connect (see `HTTPOptions` for each option), ``.at(url)`` where::

        store = al.HTTPStore(headers={"Authorization": "Bearer ..."}).at("https://host/train/")

    User info in the address is sent as Basic authorisation, its query (a signed prefix) with every request;
    neither is ever printed. All headers go to the address's own origin only, and over plain ``http://`` only
    to this machine. Raises `OptionError`.
    """

    def __init__(
        self,
        *,
        headers: HeaderSource = None,
        proxy: str | None = "env",
        ca_file: str | Path | None = None,
        max_connections: int = MAX_CONNECTIONS,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        floor_bytes_per_s: int = FLOOR_BYTES_PER_S,
        floor_window_s: float = FLOOR_WINDOW_S,
        max_object_bytes: int = MAX_OBJECT_BYTES,
        transport: str = TRANSPORT,
    ) -> None:
        self._options = HTTPOptions(
            headers=headers,
            proxy=proxy,
            ca_file=ca_file,
            max_connections=max_connections,
            connect_timeout_s=connect_timeout_s,
            idle_timeout_s=idle_timeout_s,
            floor_bytes_per_s=floor_bytes_per_s,
            floor_window_s=floor_window_s,
            max_object_bytes=max_object_bytes,
            transport=transport,
        )
        self._root: HTTPRoot | None = None
        self._fetcher: HTTPFetcher | None = None

    def at(self, url: str) -> HTTPStore:
        """A store with these options, rooted at ``url``. Raises `OptionError`."""
        root = HTTPRoot.parse(url)
        names = self._options.header_names()
        if root.headers and any(name.lower() == "authorization" for name in names):
            # Which of them is meant? A request carries one.
            raise OptionError("url", repr(root.location), "no user info where headers= gives Authorization")
        require_private_channel(
            root.url(""), option="url", header_names=[*names, *root.headers], proxy=self._options.proxy
        )
        bound = HTTPStore.__new__(HTTPStore)
        bound._options = self._options
        bound._root = root
        bound._fetcher = None
        return bound

    @property
    def options(self) -> HTTPOptions:
        """How it connects; for addresses that lie outside of the root."""
        return self._options

    @property
    def transport(self) -> str:
        """The HTTP client in use: ``"aiohttp"`` or ``"fast"``."""
        return self._options.client

    @property
    def location(self) -> str:
        """The root's address without user info and query; ends with ``/``."""
        return self._bound().location

    @property
    def origin(self) -> str:
        """``scheme://host:port``."""
        return self._bound().origin

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """The object's bytes, or those of the half-open ``byte_range``, cut at the end.

        Cancelling drops the connection. Raises `StoreError`.
        """
        root = self._bound()
        return await self._client().fetch(
            self._object_url(root, key), shown=root.shown(key), byte_range=byte_range, headers=root.headers
        )

    async def get_version(self, key: str, byte_range: ByteRange | None, etag: str) -> bytes:
        """The bytes of the object that has this ``etag``; see `aioloader.types.VersionedStore`."""
        root = self._bound()
        return await self._client().fetch(
            self._object_url(root, key), shown=root.shown(key), byte_range=byte_range, headers=root.headers, etag=etag
        )

    async def get_rest(self, key: str, partial: Partial) -> bytes:
        """The bytes of which ``partial`` came, with the rest; see `aioloader.types.ResumableStore`."""
        root = self._bound()
        return await self._client().fetch_rest(
            self._object_url(root, key), partial, shown=root.shown(key), headers=root.headers
        )

    async def size(self, key: str) -> int:
        """Length of the object in bytes. Raises `StoreError`."""
        root = self._bound()
        return await self._client().head_size(self._object_url(root, key), shown=root.shown(key), headers=root.headers)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """Every object whose key starts with ``prefix``, each once, in an order that only the data decides.

        Raises `DatasetError` where the server shows neither an ``index.jsonl`` nor directory pages.
        """
        return self.list_pages(prefix, ask_once)

    def list_pages(self, prefix: str, asker: Asker) -> AsyncIterator[ObjectMeta]:
        """`list`, with each page asked for by ``asker``; see `aioloader.types.PagedStore`."""
        from aioloader.storage.http.listing import list_objects

        root, client = self._bound(), self._client()

        async def page(key: str) -> bytes:
            return await asker(partial(client.fetch, root.url(key), shown=root.shown(key), headers=root.headers))

        return list_objects(page, root.location, prefix)

    async def aclose(self) -> None:
        """Close the running loop's connections; idempotent."""
        if self._fetcher is not None:
            await self._fetcher.aclose()

    def _bound(self) -> HTTPRoot:
        if self._root is None:
            raise OptionError("store", repr(self), "a place too: HTTPStore(...).at('https://host/train/')")
        return self._root

    def _client(self) -> HTTPFetcher:
        if self._fetcher is None:
            # aiohttp takes 0.2 s to import; who only reads files never waits for it.
            from aioloader.storage.http.fetch import HTTPFetcher

            self._fetcher = HTTPFetcher(self._options)
        return self._fetcher

    def _object_url(self, root: HTTPRoot, key: str) -> URL:
        if not key:
            raise ObjectNotFoundError("the empty key names no object", root.location, "Give the object's key.")
        return root.url(key)

    def __repr__(self) -> str:
        where = f".at({self._root.location!r})" if self._root is not None else ""
        return f"HTTPStore({self._options.describe()}){where}"
