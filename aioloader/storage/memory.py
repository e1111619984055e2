"""Objects in memory, for tests and examples."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from aioloader.errors import ObjectNotFoundError, OptionError
from aioloader.redact import printable_key, redact_url
from aioloader.storage.ranges import check_range, cut_range
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aioloader.types import ByteRange

_named: dict[str, dict[str, bytes]] = {}
_named_lock = threading.Lock()


class MemoryStore:
    """A store whose objects are ``bytes`` in this process: ``MemoryStore({"cat/1.jpg": data})``."""

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self._objects = dict(objects or {})
        self._location = "memory:///"
        self._root = ""

    @classmethod
    def at(cls, url: str) -> MemoryStore:
        """The store that ``memory://name/`` names; all of one name share their objects in this process.

        ``memory://name/train/`` is the same store below ``train/``. Raises `OptionError`.
        """
        try:
            parts = urlsplit(url)
            name = parts.netloc
        except ValueError:
            name = ""
        if not name or "@" in name or url[:9] != "memory://":
            raise OptionError("url", repr(redact_url(url)), "an address such as 'memory://name/train/'")
        store = cls()
        with _named_lock:
            store._objects = _named.setdefault(name, {})
        store._root = unquote(urlsplit(url).path).strip("/")
        store._root += "/" if store._root else ""
        store._location = f"memory://{name}/{store._root}"
        return store

    def put(self, key: str, body: bytes) -> None:
        """Store ``body`` under ``key``, in place of what was there."""
        self._objects[self._root + key] = bytes(body)

    @property
    def location(self) -> str:
        """``memory://name/``, ending with ``/``; without a name for a store of its own."""
        return self._location

    @property
    def origin(self) -> str:
        """``memory://``."""
        return "memory://"

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """The object's bytes, or the half-open ``byte_range`` of them, cut at the end."""
        body = self._find(key)
        if byte_range is None:
            return body
        check_range(byte_range)
        start, stop = cut_range(byte_range, len(body), self._location + printable_key(key))
        return body[start:stop]

    async def size(self, key: str) -> int:
        """Length of the object in bytes. Raises `StoreError`."""
        return len(self._find(key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """Every object whose key starts with ``prefix``, as they are when the listing starts."""
        for key, body in list(self._objects.items()):
            if key.startswith(self._root + prefix):
                yield ObjectMeta(key=key[len(self._root) :], size_bytes=len(body))

    async def aclose(self) -> None:
        """Nothing is held open; the objects stay."""

    def _find(self, key: str) -> bytes:
        try:
            return self._objects[self._root + key]
        except KeyError:
            raise ObjectNotFoundError(
                "there is no such object", self._location + printable_key(key), "Check the key."
            ) from None

    def __repr__(self) -> str:
        return f"<MemoryStore {self._location} with {len(self._objects)} objects>"
