"""Bytes over HTTP(S): aiohttp behind one small seam, so that another client can take its place.

Redirects are followed by hand, ranges and lengths are checked, nothing is decompressed, nothing is retried
(but for aiohttp's one fresh connection where a kept-alive one turned out closed).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aioloader.errors import AccessDeniedError, OptionError, StoreError
from aioloader.storage.http_answers import announced_length, body_of, drain_small, total_of
from aioloader.storage.http_connections import Connections
from aioloader.storage.http_errors import FOREIGN_ERRORS, status_error, translate
from aioloader.storage.http_options import HTTPOptions, require_private_channel
from aioloader.storage.http_redirects import REDIRECT_STATUSES, next_hop, same_origin
from aioloader.storage.per_loop import PerLoop
from aioloader.storage.ranges import check_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp
    from yarl import URL

    from aioloader.types import ByteRange

# Servers that do not implement HEAD, or that signed only GET, answer one of these.
_HEAD_REFUSED = frozenset({400, 401, 403, 405, 501})


class HTTPFetcher:
    """Requests with one set of options; sessions are kept for each event loop, opened on first use."""

    def __init__(self, options: HTTPOptions) -> None:
        self._options = options
        self._connections: PerLoop[Connections] = PerLoop()

    async def fetch(
        self,
        url: URL,
        *,
        shown: str,
        byte_range: ByteRange | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
    ) -> bytes:
        """The body of ``url``, or the half-open ``byte_range`` of it (cut at the end).

        ``shown`` is the redacted address for errors. ``headers`` go with this request, to the origin of
        ``url`` only. ``signed`` leaves out the options' headers and refuses redirects to other origins.
        Cancelling drops the connection. Raises `StoreError`.
        """
        if byte_range is not None:
            check_range(byte_range)
            if byte_range[0] == byte_range[1]:
                return b""
        sent = self._headers(url, headers, shown, signed=signed)
        try:
            async with self._answer("GET", url, sent, shown, byte_range, signed) as response:
                return await body_of(response, shown, byte_range, self._options.max_object_bytes)
        except StoreError:
            raise
        except FOREIGN_ERRORS as exc:
            error = translate(exc, shown, byte_range)
        # Outside of the handler: `__context__` would carry the address with its query.
        raise error

    async def head_size(
        self,
        url: URL,
        *,
        shown: str,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
    ) -> int:
        """Length of the body in bytes: by HEAD, or by a GET of one byte where HEAD is refused or vague."""
        sent = self._headers(url, headers, shown, signed=signed)
        try:
            async with self._answer("HEAD", url, sent, shown, None, signed) as response:
                length = announced_length(response)
                if response.status == 200 and length is not None:
                    return length
                if response.status >= 400 and response.status not in _HEAD_REFUSED:
                    raise status_error(response.status, "", shown, None)
            async with self._answer("GET", url, sent, shown, (0, 1), signed) as response:
                return await total_of(response, shown)
        except StoreError:
            raise
        except FOREIGN_ERRORS as exc:
            error = translate(exc, shown, None)
        raise error

    async def aclose(self) -> None:
        """Close the running loop's connections; idempotent, and a later request opens new ones."""
        connections = self._connections.take()
        if connections is not None:
            await connections.aclose()

    def _headers(
        self,
        url: URL,
        headers: Mapping[str, str] | None,
        shown: str,
        *,
        signed: bool,
    ) -> dict[str, str]:
        sent = dict(headers or {})
        if signed:
            return sent
        try:
            taken = {name.lower() for name in sent}
            users = self._options.current_headers()
            sent.update({name: value for name, value in users.items() if name.lower() not in taken})
        except OptionError:
            raise
        except Exception as exc:  # the user's function
            raise AccessDeniedError(
                f"the headers= function raised {type(exc).__name__}", shown, "Correct the function."
            ) from exc
        require_private_channel(url, option="url", header_names=sent, proxy=self._options.proxy)
        return sent

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        shown: str,
        byte_range: ByteRange | None,
        signed: bool,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer after redirects. Leaving early drops the connection."""
        ours = {"Range": f"bytes={byte_range[0]}-{byte_range[1] - 1}"} if byte_range is not None else {}
        connections = self._connections.get(lambda: Connections(self._options))
        current, hop, at_home = url, 0, True
        while True:
            at_home = at_home and same_origin(current, url)  # what a stranger sends back is a stranger's
            session = await connections.session_for(current, home=url)
            response = await session.request(
                method,
                current,
                headers={**headers, **ours} if at_home else ours,
                allow_redirects=False,
                proxy=connections.proxy_for(current),
                ssl=connections.tls_context() if current.scheme == "https" else True,
            )
            try:
                if response.status not in REDIRECT_STATUSES:
                    yield response
                    return
                hop += 1
                location = response.headers.get("Location")
                await drain_small(response)
            finally:
                # After a whole body this gives the connection back to the pool, else it closes it.
                response.close() if not response.content.at_eof() else response.release()
            current = next_hop(current, location, hop=hop, signed=signed, shown=shown, byte_range=byte_range)
