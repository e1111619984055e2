"""Every store of this half, held to the same contract."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import RangeNotHonouredError
from aioloader.storage.local.store import LocalStore
from aioloader.storage.memory import MemoryStore
from aioloader.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from aioloader.types import Store
    from tests.storage.conftest import BucketFactory, FileServer, NewStore


class TestMemory(StoreContract):
    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        yield MemoryStore(objects)


class TestLocal(StoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        for key, body in objects.items():
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        yield LocalStore().at(self.folder)


class TestHTTPWithIndex(StoreContract):
    @pytest.fixture(autouse=True)
    def _bucket(self, bucket: BucketFactory, http: NewStore) -> None:
        self.bucket = bucket
        self.http = http

    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        async with self.bucket(objects) as bucket:
            yield self.http().at(bucket.url)


class TestHTTPWithPythonPages(StoreContract):
    lists_sizes = False

    @pytest.fixture(autouse=True)
    def _server(self, python_server: FileServer, http: NewStore) -> None:
        self.server = python_server
        self.http = http

    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        yield self.http().at(self.server.publish(objects))

    async def test_get_gives_the_range(self) -> None:
        """This server has no ranges: from the start the whole is cut, elsewhere it is refused."""
        async with self.opened({"a.bin": b"0123456789" * 50_000}) as store:
            assert await store.get("a.bin", (0, 13)) == b"0123456789012"
            with pytest.raises(RangeNotHonouredError, match="whole object instead of the range"):
                await store.get("a.bin", (5, 13))
            assert await store.get("a.bin", (0, 500_001)) == b"0123456789" * 50_000


@pytest.mark.nginx
class TestHTTPWithNginxPages(StoreContract):
    lists_hidden = False

    @pytest.fixture(autouse=True)
    def _server(self, nginx_server: FileServer, http: NewStore) -> None:
        self.server = nginx_server
        self.http = http

    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        yield self.http().at(self.server.publish(objects))
