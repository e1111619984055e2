"""The transport that is always there: one session of aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from aioloader.storage.http.resolver import Resolver

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from aiohttp.connector import Connection
    from yarl import URL

    from aioloader.storage.http.options import HTTPOptions
    from aioloader.storage.http.transport import Answer

KEEP_ALIVE_S: Final = 30.0
"""Longer than a slow training step, shorter than what servers keep (nginx: 75 s)."""

DEFAULT_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "aioloader"}


class _Request(aiohttp.ClientRequest):
    """Does not use a connection on which bytes wait that nobody asked for.

    aiohttp would take them for the answer to this request: another object's bytes, without an error. It takes
    the error for a connection gone stale and asks once more on another.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.protocol is not None and conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


class AiohttpTransport:
    """A `Transport`; the only one that speaks to proxies. ``tls`` is called for the first ``https`` address."""

    def __init__(
        self,
        options: HTTPOptions,
        *,
        guarded: bool,
        tls: Callable[[], ssl.SSLContext],
        proxy_for: Callable[[URL], URL | None],
    ) -> None:
        self._tls = tls
        self._proxy_for = proxy_for
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=options.max_connections,
                keepalive_timeout=KEEP_ALIVE_S,
                resolver=Resolver(timeout_s=options.connect_timeout_s, guarded=guarded),
            ),
            # No total: besides being wrong for large objects, it costs a timer a request.
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=options.connect_timeout_s, sock_read=options.idle_timeout_s
            ),
            headers=DEFAULT_HEADERS,
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def request(self, method: str, url: URL, headers: Mapping[str, str]) -> Answer:
        """The answer once its header is there."""
        return await self._session.request(
            method,
            url,
            headers=headers or None,  # an empty mapping would be copied and merged
            allow_redirects=False,
            proxy=self._proxy_for(url),
            ssl=self._tls() if url.scheme == "https" else True,
        )

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._session.close()
