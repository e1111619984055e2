"""What the tests of the cache share: stores behind a cache, and what lies in its directory."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aioloader.storage.cache.options import CacheOptions
from aioloader.storage.cache.store import CachingStore
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.stack import with_policies
from aioloader.types import SampleRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aioloader.storage.cache.entry import EntryName
    from aioloader.storage.cache.folder import CacheFolder
    from aioloader.storage.cache.room import Verdict
    from aioloader.types import Store

DEADLINE_S = 20.0
QUICK = Retry(base_s=0.005, throttled_base_s=0.01, hedge_share=0)  # requests are counted


def bodies(count: int, nbytes: int = 5000, seed: int = 0) -> dict[str, bytes]:
    """``count`` objects of ``nbytes`` random bytes."""
    draw = random.Random(seed)
    return {f"{index:04d}.bin": draw.randbytes(nbytes) for index in range(count)}


def caching(base: Store, path: Path, bound: int | str = "10MB") -> CachingStore:
    """``base`` with a loader's policies and a cache in ``path``."""
    store = with_policies(base, retry=QUICK, cache=CacheOptions.checked(path, bound))
    assert isinstance(store, CachingStore)
    return store


@asynccontextmanager
async def cached(url: str, path: Path, bound: int | str = "10MB") -> AsyncIterator[CachingStore]:
    """The same over HTTP, closed at the end: by then all that was to be written is."""
    store = caching(HTTPStore().at(url), path, bound)
    try:
        yield store
    finally:
        await store.aclose()


def known(key: str, index: int = 0, *, size_bytes: int | None = None, etag: str | None = None) -> SampleRef:
    """A sample as it was listed."""
    return SampleRef(index=index, key=key, size_bytes=size_bytes, etag=etag)


def entry_files(path: Path) -> list[Path]:
    """The files that are named as entries."""
    return sorted(file for file in path.glob("?/?/*") if len(file.name) == 64)


def taken(path: Path) -> int:
    """Bytes that the directory's files take on its disk."""
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; what is written behind a sample's back says so nowhere else."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to it"
        await asyncio.sleep(0.005)


def write(folder: CacheFolder, name: EntryName, body: bytes) -> Verdict:
    """One entry."""
    return folder.write([(name, body)])[0]
