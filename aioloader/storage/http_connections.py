"""The sessions of one event loop: one to the user's own servers, one for redirects to strangers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from aioloader.storage.hosts import PrivateAddressError, is_inner_address, is_loopback_host, literal_address
from aioloader.storage.http_proxy import proxy_for
from aioloader.storage.http_redirects import same_origin

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from yarl import URL

    from aioloader.storage.http_options import HTTPOptions

KEEP_ALIVE_S = 30.0
"""Longer than a slow training step, shorter than what servers keep (nginx: 75 s)."""


class _Resolver(AbstractResolver):
    """The system's name look-up, with a time limit, and with inner addresses refused where ``guarded``.

    The check is made on the very addresses that are then connected to: a second look-up could differ.
    """

    def __init__(self, *, timeout_s: float, guarded: bool) -> None:
        self._inner = ThreadedResolver()
        self._timeout_s = timeout_s
        self._guarded = guarded

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._inner.resolve(host, port, family)
        except TimeoutError as exc:
            raise OSError(f"no answer within {self._timeout_s:g} s") from exc
        if self._guarded and any(_is_inner(entry["host"]) for entry in found):
            raise PrivateAddressError(host)
        return found

    async def close(self) -> None:
        await self._inner.close()


def _is_inner(host: str) -> bool:
    address = literal_address(host)
    return address is not None and is_inner_address(address)


class _Request(aiohttp.ClientRequest):
    """Does not use a connection on which bytes wait that nobody asked for.

    aiohttp would take them for the answer to this request: another object's bytes, without an error. It takes
    the error for a connection gone stale and asks once more on another.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.protocol is not None and conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


class Connections:
    """What one event loop holds open; made and used on that loop only."""

    def __init__(self, options: HTTPOptions) -> None:
        self._options = options
        self._home = self._session(guarded=False)
        self._strange: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._proxies: dict[tuple[str, str | None, int | None], URL | None] = {}

    def _session(self, *, guarded: bool) -> aiohttp.ClientSession:
        options = self._options
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=options.max_connections,
                keepalive_timeout=KEEP_ALIVE_S,
                resolver=_Resolver(timeout_s=options.connect_timeout_s, guarded=guarded),
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=options.connect_timeout_s, sock_read=options.idle_timeout_s
            ),
            headers={"Accept-Encoding": "identity", "User-Agent": "aioloader"},
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def tls_context(self) -> ssl.SSLContext:
        """Verification against the system's authorities and ``ca_file``; TLS 1.2 at least."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._options.ca_file is not None:
                self._tls.load_verify_locations(cafile=str(self._options.ca_file))
        return self._tls

    def proxy_for(self, url: URL) -> URL | None:
        """The proxy for ``url``'s origin; the environment is asked once for each."""
        origin = (url.scheme, url.host, url.port)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(url, self._options.proxy)
        return self._proxies[origin]

    async def session_for(self, url: URL, *, home: URL) -> aiohttp.ClientSession:
        """The session for ``url``, to which requests to ``home`` were redirected.

        Raises `PrivateAddressError` where a redirect leads to an inner address and ``home`` is not on one.
        """
        if same_origin(url, home) or await self._is_inner_host(home):
            return self._home
        host = url.host or ""
        if _is_inner(host) or is_loopback_host(host):  # the resolver is not asked about addresses
            raise PrivateAddressError(host)
        if self._strange is None:
            self._strange = self._session(guarded=True)
        return self._strange

    async def _is_inner_host(self, url: URL) -> bool:
        """Whether the user's own address is on an inner network: then redirects may stay on it."""
        host = url.host or ""
        if literal_address(host) is not None:
            return _is_inner(host)
        resolver = _Resolver(timeout_s=self._options.connect_timeout_s, guarded=False)
        try:
            found = await resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)
        except OSError:
            return False  # reached through a proxy that knows the name: take it for a public one
        return bool(found) and all(_is_inner(entry["host"]) for entry in found)

    async def aclose(self) -> None:
        """Close both sessions, the second even where the first fails."""
        try:
            await self._home.close()
        finally:
            if self._strange is not None:
                await self._strange.close()
