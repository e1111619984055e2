"""Bytes over HTTP(S): an HTTP client behind one small seam (`http.transport`), so that another can take its place.

Redirects are followed by hand, ranges and lengths are checked, nothing is decompressed, nothing is retried
(but for one fresh connection where a kept-alive one turned out closed).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aioloader.errors import (
    AccessDeniedError,
    StoreError,
    TransferStalledError,
)
from aioloader.storage.http.answers import (
    announced_length,
    body_of,
    check_same,
    drain_small,
    retry_after_s,
    total_of,
    what_came,
)
from aioloader.storage.http.connections import Connections
from aioloader.storage.http.errors import FOREIGN_ERRORS, status_error, translate
from aioloader.storage.http.headers import UserHeaders
from aioloader.storage.http.options import HTTPOptions, require_private_channel
from aioloader.storage.http.redirects import REDIRECT_STATUSES, next_hop, same_origin
from aioloader.storage.http.root import origin_of
from aioloader.storage.http.transport import let_go
from aioloader.storage.per_loop import PerLoop
from aioloader.storage.policies.origin_state import state_of
from aioloader.storage.policies.resuming import rest_of
from aioloader.storage.ranges import check_range

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from yarl import URL

    from aioloader.storage.http.transport import Answer
    from aioloader.types import ByteRange, Partial

T = TypeVar("T")

# Servers that do not implement HEAD, or that signed only GET, answer one of these.
_HEAD_REFUSED = frozenset({400, 401, 403, 405, 501})


class HTTPFetcher:
    """Requests with one set of options; sessions are kept for each event loop, opened on first use."""

    def __init__(self, options: HTTPOptions) -> None:
        self._options = options
        self._users = UserHeaders(options)
        self._connections: PerLoop[Connections] = PerLoop()

    async def fetch(
        self,
        url: URL,
        *,
        shown: str,
        byte_range: ByteRange | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
        etag: str | None = None,
        is_rest: bool = False,
    ) -> bytes:
        """The body of ``url``, or the half-open ``byte_range`` of it (cut at the end).

        ``shown`` is the redacted address for errors. ``headers`` go with this request, to the origin of
        ``url`` only. ``signed`` leaves out the options' headers and refuses redirects to other origins. ``etag`` is
        the object that it must be, or with ``is_rest`` be a part of.
        Where the options' headers come from a function, a 401 or 403 has it asked for newer ones, once.
        Cancelling drops the connection. Raises `StoreError`.
        """
        if byte_range is not None:
            check_range(byte_range)
            if byte_range[0] == byte_range[1]:
                return b""
        if signed or not self._users.may_renew:
            sent = (headers or {}) if signed else self._merged(url, headers, self._users.for_request(shown))
            return await self._fetch(url, shown, byte_range, signed, etag, is_rest, sent)
        ask = partial(self._fetch, url, shown, byte_range, signed, etag, is_rest)
        return await self._with_headers(ask, url, headers, shown)

    async def _fetch(
        self,
        url: URL,
        shown: str,
        byte_range: ByteRange | None,
        signed: bool,
        etag: str | None,
        is_rest: bool,
        sent: Mapping[str, str],
    ) -> bytes:
        parts: list[bytes] = []
        answer = None
        connections = self._connections.get(self._connect)
        slow_reads = connections.slow_reads
        read = slow_reads.begin(parts)
        try:
            answer = await self._answer(connections, "GET", url, sent, shown, byte_range, signed, etag)
            try:
                if etag is not None:
                    check_same(answer, etag, shown, byte_range, is_rest=is_rest)
                return await body_of(answer, shown, byte_range, self._options.max_object_bytes, parts, read.count)
            finally:
                let_go(answer)
        except StoreError as exc:
            error = exc
        except FOREIGN_ERRORS as exc:
            error = translate(exc, shown, byte_range)
        except asyncio.CancelledError:
            if not read.is_slow or read.take_back():
                raise  # somebody else wants it to end, too
            error = self._too_slow(shown, byte_range)
        finally:
            slow_reads.end(read)
        if answer is not None:
            error.partial = what_came(answer, byte_range, parts)
        parts.clear()  # the traceback keeps this frame
        try:
            # Outside of the handler: `__context__` would carry the address with its query.
            raise error
        finally:
            del error

    def _too_slow(self, shown: str, byte_range: ByteRange | None) -> StoreError:
        options = self._options
        return TransferStalledError(
            f"less than {options.floor_bytes_per_s:,} bytes a second came for {options.floor_window_s:g} s",
            shown,
            "Check the server's load and the network, or lower floor_bytes_per_s.",
            byte_range,
        )

    async def fetch_rest(
        self,
        url: URL,
        begun: Partial,
        *,
        shown: str,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
    ) -> bytes:
        """What `fetch` would have given had it not broken off after ``begun``: the rest is asked for, of the same
        object by its ETag. Raises `StoreError`, with more of the body in the error's ``partial`` where more came."""

        async def fetch(rest: ByteRange) -> bytes:
            return await self.fetch(
                url, shown=shown, byte_range=rest, headers=headers, signed=signed, etag=begun.etag, is_rest=True
            )

        return await rest_of(begun, fetch, shown)

    async def head_size(
        self,
        url: URL,
        *,
        shown: str,
        headers: Mapping[str, str] | None = None,
        signed: bool = False,
    ) -> int:
        """Length of the body in bytes: by HEAD, or by a GET of one byte where HEAD is refused or vague."""
        if signed:
            return await self._head_size(url, shown, signed, headers or {})
        return await self._with_headers(partial(self._head_size, url, shown, signed), url, headers, shown)

    async def _head_size(self, url: URL, shown: str, signed: bool, sent: Mapping[str, str]) -> int:
        connections = self._connections.get(self._connect)
        try:
            answer = await self._answer(connections, "HEAD", url, sent, shown, None, signed)
            let_go(answer)
            length = announced_length(answer)
            if answer.status == 200 and length is not None:
                return length
            if answer.status >= 400 and answer.status not in _HEAD_REFUSED:
                raise status_error(answer.status, "", shown, None, retry_after_s(answer))
            answer = await self._answer(connections, "GET", url, sent, shown, (0, 1), signed)
            try:
                return await total_of(answer, shown)
            finally:
                let_go(answer)
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

    async def _with_headers(
        self,
        ask: Callable[[Mapping[str, str]], Awaitable[T]],
        url: URL,
        headers: Mapping[str, str] | None,
        shown: str,
    ) -> T:
        """What ``ask`` gives with all header fields of the request; asked once more where newer ones may help."""
        users = self._users.for_request(shown)
        try:
            return await ask(self._merged(url, headers, users))
        except AccessDeniedError as exc:
            refused = exc
        try:
            newer, was_asked = self._users.after_refusal(users, shown)
            if newer is None:
                raise refused
        finally:
            del refused
        if was_asked:
            state_of(origin_of(url)).counts.refreshed += 1
        return await ask(self._merged(url, headers, newer))

    def _merged(self, url: URL, headers: Mapping[str, str] | None, users: Mapping[str, str]) -> Mapping[str, str]:
        """A request's own fields, which come first, and the user's."""
        sent = dict(headers) if headers else {}
        if users:
            taken = {name.lower() for name in sent}
            sent.update({name: value for name, value in users.items() if name.lower() not in taken})
        require_private_channel(url, option="url", header_names=sent, proxy=self._options.proxy)
        return sent

    async def _answer(
        self,
        connections: Connections,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        shown: str,
        byte_range: ByteRange | None,
        signed: bool,
        etag: str | None = None,
    ) -> Answer:
        """The answer after redirects; the caller lets go of it."""
        ours = {"Range": f"bytes={byte_range[0]}-{byte_range[1] - 1}"} if byte_range is not None else {}
        if etag is not None:
            ours["If-Match"] = etag
        answer = await connections.home.request(method, url, {**headers, **ours} if ours else headers)
        current, hop, at_home = url, 0, True
        while answer.status in REDIRECT_STATUSES:
            hop += 1
            location = answer.headers.get("Location", "")
            try:
                await drain_small(answer)
            finally:
                let_go(answer)
            current = next_hop(current, location, hop=hop, signed=signed, shown=shown, byte_range=byte_range)
            at_home = at_home and same_origin(current, url)  # what a stranger sends back is a stranger's
            transport = await connections.after_redirect(current, home=url)
            answer = await transport.request(method, current, {**headers, **ours} if at_home else ours)
        return answer

    def _connect(self) -> Connections:
        return Connections(self._options)
