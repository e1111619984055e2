"""What every policy around a store passes on to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from aioloader.runtime.loop_thread import parts_of
from aioloader.types import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioloader.runtime.loop_thread import Closable
    from aioloader.types import ObjectMeta

S_co = TypeVar("S_co", bound=Store, covariant=True)


class WrappingStore(Generic[S_co]):
    """``base``, but for what a subclass does itself: `get` at least."""

    def __init__(self, base: S_co) -> None:
        self.base = base

    @property
    def location(self) -> str:
        """The base's."""
        return self.base.location

    @property
    def origin(self) -> str:
        """The base's."""
        return self.base.origin

    async def size(self, key: str) -> int:
        """Length of the object in bytes. Raises `StoreError`."""
        return await self.base.size(key)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """As the base lists."""
        return self.base.list(prefix)

    @property
    def shared_parts(self) -> tuple[Closable, ...]:
        """The base's connections, which other loaders may use too."""
        return parts_of(self.base)

    async def aclose(self) -> None:
        """Close the base."""
        await self.base.aclose()

    def __repr__(self) -> str:
        return repr(self.base)
