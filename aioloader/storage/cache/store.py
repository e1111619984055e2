"""A store that keeps on disk what it has fetched, and looks there first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import OptionError
from aioloader.monitor.stats import CacheCounts
from aioloader.runtime.loop_thread import parts_of
from aioloader.storage.cache.entry import name_entry
from aioloader.storage.cache.folder import CacheFolder
from aioloader.storage.cache.opening import CacheOpening
from aioloader.storage.policies.wrapping import WrappingStore
from aioloader.types import InformedStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.runtime.loop_thread import Closable
    from aioloader.storage.cache.options import CacheOptions
    from aioloader.types import ByteRange, SampleRef

_of_process = CacheCounts()
_listeners: list[Callable[[CacheCounts], None]] = []


def tell_cache_counts(listener: Callable[[CacheCounts], None]) -> None:
    """Have ``listener`` called with the sums over all caches of this process, from now on whenever they change."""
    _listeners.append(listener)


class CachingStore(WrappingStore[InformedStore]):
    """``base`` behind a cache as ``options`` say; each store opens the directory for itself, in every process."""

    def __init__(self, base: InformedStore, options: CacheOptions) -> None:
        super().__init__(base)
        self.options = options
        self.counts = CacheCounts()
        """Since it was made; changed on the loop that fetches alone."""
        self._opened = CacheOpening(options, self._count)

    async def get(self, key: str, byte_range: ByteRange | None = None, known: SampleRef | None = None) -> bytes:
        """The bytes from the cache, checked, or from the base: then they are written behind the caller's back.

        Raises as the base does, and `OptionError` for a directory that cannot be a cache.
        """
        cache = await self._opened.get()
        if cache is None:
            return await self.base.get(key, byte_range, known)
        size_bytes, etag = (None, None) if known is None else (known.size_bytes, known.etag)
        name = name_entry(self.base.origin, self.base.location, key, byte_range, size_bytes, etag)
        body = await cache.find(name)
        if body is not None:
            return body
        body = await self.base.get(key, byte_range, known)
        wanted = size_bytes if byte_range is None else byte_range[1] - byte_range[0]
        if wanted is None or len(body) == wanted:  # else it is not what was listed, and the caller refuses it
            cache.keep(name, body)
        return body

    def prepare(self) -> None:
        """Make and check the directory, before anything is fetched; blocks. Raises `OptionError`."""
        try:
            CacheFolder(self.options.path, self.options.bound_bytes).close()
        except OSError as exc:
            expected = f"a directory that can be used; the system says {exc.strerror or exc}"
            raise OptionError("cache", repr(self.options.path), expected) from exc

    @property
    def shared_parts(self) -> tuple[Closable, ...]:
        """Its own opening of the directory, and the base's connections, which other loaders may use too."""
        return (self._opened, *parts_of(self.base))

    async def aclose(self) -> None:
        """Close the cache and the base."""
        try:
            await self._opened.aclose()
        finally:
            await self.base.aclose()

    def _count(self, some: CacheCounts, *, resumed: bool = False) -> None:
        for counts in (self.counts, _of_process):
            counts.add(some)
            if resumed:
                counts.stopped = 0
        for listener in _listeners:
            listener(_of_process)

    def __reduce__(self) -> tuple[object, ...]:
        return CachingStore, (self.base, self.options)
