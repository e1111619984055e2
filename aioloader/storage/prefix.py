"""A folder of another store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aioloader.runtime.loop_thread import parts_of
from aioloader.storage.pages import close, listed
from aioloader.storage.pins import version_getter
from aioloader.types import ResumableStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from aioloader.runtime.loop_thread import Closable
    from aioloader.types import Asker, ByteRange, ObjectMeta, Partial, Store


class PrefixStore:
    """``store`` as seen from ``prefix``, which is empty or ends with ``/``; closing it closes ``store``."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._get_version = version_getter(store)
        self._prefix = prefix

    @classmethod
    def of(cls, store: Store, folder: str) -> Store:
        """``store`` itself for ``""``, else its ``folder``, with or without the final slash."""
        location = store.location  # a store without a root says so here, not at the first sample
        del location
        return store if not folder else cls(store, folder if folder.endswith("/") else folder + "/")

    @property
    def location(self) -> str:
        """The folder as the store prints it."""
        return self._store.location + self._prefix

    @property
    def origin(self) -> str:
        """The store's."""
        return self._store.origin

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """As the store's."""
        return await self._store.get(self._prefix + key, byte_range)

    async def get_version(self, key: str, byte_range: ByteRange | None, etag: str) -> bytes:
        """As the store's, or as `get` where it has no versions."""
        if self._get_version is None:
            return await self._store.get(self._prefix + key, byte_range)
        return await self._get_version(self._prefix + key, byte_range, etag)

    async def get_rest(self, key: str, partial: Partial) -> bytes:
        """As the store's; asked for only where the store gave ``partial``, and so can resume."""
        if isinstance(self._store, ResumableStore):
            return await self._store.get_rest(self._prefix + key, partial)
        return await self._store.get(self._prefix + key, (partial.first, partial.stop))

    @property
    def read_now(self) -> Callable[[str, ByteRange | None], bytes] | None:
        """That of a store that has one."""
        read = getattr(self._store, "read_now", None)
        return None if read is None else lambda key, byte_range: read(self._prefix + key, byte_range)

    @property
    def transport(self) -> str | None:
        """The HTTP client of a store that has one."""
        return getattr(self._store, "transport", None)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """As the store's, with keys relative to the folder."""
        return self._relative(self._store.list(self._prefix + prefix))

    def list_pages(self, prefix: str, asker: Asker) -> AsyncIterator[ObjectMeta]:
        """`list`, by the store's own pages or in parts; see `aioloader.types.PagedStore`."""
        return self._relative(listed(self._store, self._prefix + prefix, asker))

    async def _relative(self, found: AsyncIterator[ObjectMeta]) -> AsyncGenerator[ObjectMeta, None]:
        try:
            async for meta in found:
                yield replace(meta, key=meta.key[len(self._prefix) :])
        finally:
            await close(found)

    async def size(self, key: str) -> int:
        """As the store's."""
        return await self._store.size(self._prefix + key)

    @property
    def shared_parts(self) -> tuple[Closable, ...]:
        """The store alone: other folders of it are closed with its last user."""
        return parts_of(self._store)

    async def aclose(self) -> None:
        """Close the store for the running loop."""
        await self._store.aclose()

    def __repr__(self) -> str:
        return f"PrefixStore({self._store!r}, {self._prefix!r})"
