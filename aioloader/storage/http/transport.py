"""The seam behind which an HTTP client sits: what the fetcher asks of it, and what an answer is.

The names are those that aiohttp's answers have, so that it needs no wrapper a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from yarl import URL


class Headers(Protocol):
    """The fields of an answer, looked up whatever the case of their names."""

    def get(self, name: str, default: str, /) -> str:
        """The field's value."""
        ...


class Body(Protocol):
    """The bytes of an answer as they were sent: out of their chunks, but never decompressed."""

    async def read(self, n: int = -1, /) -> bytes:
        """All that is left, or at least one and at most ``n`` bytes, or none at the end."""
        ...

    def iter_any(self) -> AsyncIterator[bytes]:
        """Pieces as they come."""
        ...

    def at_eof(self) -> bool:
        """Whether all was read."""
        ...


class Answer(Protocol):
    """A status, header fields, and a body that may still be on its way."""

    @property
    def status(self) -> int:
        """100 to 999."""
        ...

    @property
    def headers(self) -> Headers:
        """The header's fields."""
        ...

    @property
    def content_length(self) -> int | None:
        """What Content-Length says, in bytes."""
        ...

    @property
    def content(self) -> Body:
        """The body."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the connection was given back or dropped; a body that came whole gives it back by itself."""
        ...

    def release(self) -> object:
        """Give the connection back."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...


class Transport(Protocol):
    """A client with its connections, on one event loop.

    It sends addresses as they are written and only the header fields given (and what HTTP demands), follows no
    redirect, keeps no cookie, decompresses nothing, and asks again only where a kept-alive connection turned out
    closed. It raises `aioloader.storage.http.errors.FOREIGN_ERRORS`: also where a body ends early.
    """

    async def request(self, method: str, url: URL, headers: Mapping[str, str]) -> Answer:
        """The answer, as soon as its header is there or later. Cancelling drops the connection."""
        ...

    async def aclose(self) -> None:
        """Drop all connections; idempotent."""
        ...


def let_go(answer: Answer) -> None:
    """Give the connection back if the whole body was read, else drop it: the rest would be the next answer."""
    if not answer.closed:
        answer.release() if answer.content.at_eof() else answer.close()
