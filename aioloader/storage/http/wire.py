"""One kept-alive HTTP/1.1 connection: a request goes out, its answer comes in; parsed by httptools (llhttp)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import aiohttp
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aioloader.storage.http.errors import NotHTTPError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MAX_HEAD_BYTES: Final = 65536
"""Of a header, of trailers, of the words between two pieces of a chunked body; llhttp itself has no limit."""

HELD_BYTES: Final = 262144
"""An answer with so short a body is handed over with it: one wake-up of its task instead of two."""

AHEAD_BYTES: Final = 1 << 20
"""What may wait unread while somebody reads piece by piece."""

_BODILESS: Final = frozenset({204, 304})


class Fields(dict[bytes, bytes]):
    """Header fields by lower-case name; repeated ones joined by commas, as RFC 9110 says."""

    def get(self, name: str, default: str, /) -> str:  # type: ignore[override]  # text outside, bytes inside
        """The field's value."""
        value = dict.get(self, name.lower().encode("ascii"))
        return default if value is None else value.decode("utf-8", "surrogateescape")

    def size_bytes(self) -> int:
        """Names and values together."""
        return sum(len(name) + len(value) for name, value in self.items())


class WireAnswer:
    """The answer to one request, and its body; see `aioloader.storage.http.transport.Answer`."""

    __slots__ = (
        "_bodiless", "_error", "_whole_wanted", "_wire", "closed", "complete", "content_length", "headers",
        "parts", "status", "waiter", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, wire: Wire, waiter: asyncio.Future[None], *, bodiless: bool) -> None:
        self._wire = wire
        self._bodiless = bodiless
        self._error: BaseException | None = None
        self._whole_wanted = False
        self.status = 0
        self.headers = Fields()
        self.content_length: int | None = None
        self.parts: list[bytes] = []
        self.waiting_bytes = 0
        self.waiter: asyncio.Future[None] = waiter
        self.complete = False
        self.closed = False

    @property
    def content(self) -> WireAnswer:
        """The body is the answer's own second half."""
        return self

    @property
    def bodiless(self) -> bool:
        """Whether no body follows, whatever the header says."""
        return self._bodiless or self.status in _BODILESS

    @property
    def wanted_whole(self) -> bool:
        """Whether its reader waits for the end."""
        return self._whole_wanted

    def wake(self, error: BaseException | None = None) -> None:
        """Tell who waits that there is something new, or that nothing more comes."""
        if error is not None and self._error is None:
            self._error = error
        waiter = self.waiter
        if waiter.done():
            return
        if error is not None and not self.status:
            waiter.set_exception(error)
        else:
            waiter.set_result(None)

    async def read(self, n: int = -1, /) -> bytes:
        """All that is left, or at least one and at most ``n`` bytes, or none at the end."""
        if n < 0:
            self._whole_wanted = True
            while not self.complete:
                await self._more()
            return self._take()
        while not self.parts and not self.complete:
            await self._more()
        taken = self._take()
        if len(taken) > n:
            self.parts, self.waiting_bytes = [taken[n:]], len(taken) - n
        return taken[:n]

    async def read_into(self, parts: list[bytes], /) -> None:
        """All that is left, at the end of ``parts``: there, too, where it breaks off. One wake-up for all of it."""
        self._whole_wanted = True
        parts += self.parts
        self.parts, self.waiting_bytes = parts, 0  # what comes from now on lies there at once
        try:
            while not self.complete:
                await self._more()
        finally:
            self.parts = []

    def iter_any(self) -> AsyncIterator[bytes]:
        """Pieces as they come."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        # No generator: a reader that leaves early would leave its clean-up to the loop.
        while not self.parts and not self.complete:
            await self._more()
        if not self.parts:
            raise StopAsyncIteration
        return self._take()

    def at_eof(self) -> bool:
        """Whether all was read."""
        return self.complete and not self.parts

    async def _more(self) -> None:
        """Wait until there is more, or no more to come; what came before an error is read first."""
        error = self._error
        if error is None:
            self._wire.resume()
            self.waiter = self._wire.loop.create_future()
            await self.waiter
            error = self._error
            if error is None or self.parts:
                return
        raise error

    def _take(self) -> bytes:
        parts, self.parts, self.waiting_bytes = self.parts, [], 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self) -> None:
        """Drop the connection unless the body came whole, which gave it back already."""
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        if not self.closed:
            self.closed = True
            self._wire.drop()


class Wire(asyncio.Protocol):
    """A connection. ``on_free`` is called when it can be used again, ``on_lost`` once when it is gone."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_free: Callable[[Wire], None], on_lost: Callable[[Wire], None]
    ) -> None:
        self.loop = loop
        self.moved_s = loop.time()
        self.paused = False
        self.lost = loop.create_future()
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._answer: WireAnswer | None = None
        self._parser = HttpResponseParser(self)
        self._keeps_alive = True
        self._in_header = True
        self._overhead_bytes = 0

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        transport = self._transport
        return transport is not None and self._keeps_alive and not transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether no byte came since the last request was sent."""
        return self._overhead_bytes == 0

    def ask(self, request: bytes, *, bodiless: bool) -> WireAnswer:
        """Send ``request``; the answer's waiter is done when the header is there, or the whole short body."""
        assert self._transport is not None
        answer = self._answer = WireAnswer(self, self.loop.create_future(), bodiless=bodiless)
        self.moved_s = self.loop.time()
        self._transport.write(request)
        return answer

    def fail(self, error: BaseException) -> None:
        """End the answer on its way with ``error``, and the connection with it."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.closed = True
            answer.wake(error)
        self.drop()

    def drop(self) -> None:
        """Close at once; what is on its way is lost."""
        self._keeps_alive = False
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        """Read on, if reading was paused."""
        transport = self._transport
        if self.paused and transport is not None:
            self.paused = False
            self.moved_s = self.loop.time()  # the pause was ours, not the server's
            transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        answer = self._answer
        if answer is not None:
            if answer.status:
                error: Exception = aiohttp.ClientPayloadError("the connection ended before the body did")
                error.__cause__ = exc
            else:
                error = exc or aiohttp.ServerDisconnectedError()
            self.fail(error)
        if not self.lost.done():
            self.lost.set_result(None)
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        self.moved_s = self.loop.time()
        answer = self._answer
        if answer is None:
            self.drop()  # bytes that nobody asked for: they would pass for the next answer
            return
        # Set back by each piece of the body: what remains is header, trailers and the words between chunks.
        self._overhead_bytes += len(data)
        broken = ""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._keeps_alive = False  # behind the end of a whole answer, the answer is good all the same
            broken = type(exc).__name__
        if answer.complete:
            self._finish(answer)
        elif broken or self._overhead_bytes > MAX_HEAD_BYTES:
            self.fail(NotHTTPError(broken or "a header without end"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._answer is not None and self._answer.complete:
            self._keeps_alive = False  # a second answer behind the first

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is None or answer.complete or not self._in_header:
            return  # trailers change nothing
        name = name.lower()
        fields = answer.headers
        fields[name] = value if name not in fields else fields[name] + b", " + value

    def on_headers_complete(self) -> None:
        answer = self._answer
        status = self._parser.get_status_code()
        if answer is None or answer.complete:
            return
        if status < 200:
            answer.headers = Fields()
            return
        self._in_header = False
        answer.status = status
        length = dict.get(answer.headers, b"content-length")
        if length is not None and length.isdigit():
            answer.content_length = int(length)
        if self._overhead_bytes > MAX_HEAD_BYTES and answer.headers.size_bytes() > MAX_HEAD_BYTES:
            self.fail(NotHTTPError("a header too long"))  # not only the body behind it
            return
        self._keeps_alive = self._parser.should_keep_alive()
        if answer.bodiless:
            # The parser takes Content-Length in an answer to HEAD for that of a body: it is not asked further.
            self._parser = HttpResponseParser(self)
            answer.complete = True
        elif answer.content_length is None or answer.content_length > HELD_BYTES:
            answer.wake()

    def on_body(self, piece: bytes) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            self._keeps_alive = False
            return
        self._overhead_bytes = 0
        answer.parts.append(piece)
        if answer.wanted_whole:
            return
        answer.waiting_bytes += len(piece)
        if answer.content_length is None or answer.content_length > HELD_BYTES:
            answer.wake()
            if answer.waiting_bytes > AHEAD_BYTES and not self.paused and self._transport is not None:
                self.paused = True
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status:
            self._answer.complete = True

    def _finish(self, answer: WireAnswer) -> None:
        self._answer = None
        self._in_header = True
        self._overhead_bytes = 0
        answer.closed = True
        answer.wake()
        if self._keeps_alive:
            self.resume()
            self._on_free(self)
        else:
            self.drop()
