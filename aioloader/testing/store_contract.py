"""What every store promises, as a class of tests to inherit from.

::

    class TestMyStore(StoreContract):
        unstorable_keys = frozenset({"what?.bin"})  # odd keys that this store cannot hold

        @asynccontextmanager
        async def store_with(self, objects):
            async with my_server(objects) as address:
                yield MyStore(address)

The tests are coroutines: run them with pytest-asyncio in its ``auto`` mode (or mark the class
``pytest.mark.asyncio``). Nothing here needs pytest itself.
"""

from __future__ import annotations

import asyncio
import pickle
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

from aioloader.errors import ObjectNotFoundError, StoreError
from aioloader.types import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

BODY = bytes(range(256)) * 300
"""Some network packets, so that a body comes in several pieces; no two neighbouring bytes are equal."""

ODD_KEYS = (
    "with space.bin",
    "per%cent.bin",
    "per%20cent.bin",
    "umlaut-ü-é.bin",
    "emoji-🐈.bin",
    "plus+and&equal=.bin",
    "hash#mark.bin",
    "question?mark.bin",
    "semi;colon:at@.bin",
    "quote'and\"double.bin",
    "(brackets)[square]{curly}.bin",
    "tilde~caret^pipe|back\\slash.bin",
    "comma,dollar$bang!star*.bin",
    "..dots.bin",
    "fo.lder/.hidden/x.bin",
)
"""Keys that a store which escapes, unescapes or normalises once too often gets wrong."""


class StoreContract:
    """Inherit, give `store_with`, and name what the store cannot hold."""

    unstorable_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys of `ODD_KEYS` that the store's own rules forbid."""

    lists_sizes: ClassVar[bool] = True
    """Whether the listing tells every object's exact size."""

    lists_hidden: ClassVar[bool] = True
    """Whether the listing shows names that begin with a dot (nginx' pages do not)."""

    def store_with(self, objects: Mapping[str, bytes]) -> AbstractAsyncContextManager[Store]:
        """A store that holds exactly ``objects``, for as long as the context lasts."""
        raise NotImplementedError(f"{type(self).__name__} must define store_with(objects)")

    @asynccontextmanager
    async def opened(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        """`store_with`, and the store is closed at the end."""
        async with self.store_with(objects) as store:
            try:
                yield store
            finally:
                await store.aclose()

    async def test_a_store_fulfils_the_protocol(self) -> None:
        """It has every method and says where it is."""
        async with self.opened({"a.bin": b"a"}) as store:
            assert isinstance(store, Store)
            assert store.location.endswith("/")
            assert "://" in store.origin

    async def test_get_gives_all_bytes(self) -> None:
        """Small and larger objects come whole."""
        async with self.opened({"a.bin": b"a", "b/c.bin": BODY}) as store:
            assert await store.get("a.bin") == b"a"
            assert await store.get("b/c.bin") == BODY

    async def test_get_gives_the_range(self) -> None:
        """Ranges are half-open and cut at the object's end."""
        size = len(BODY)
        ranges = [(0, 1), (0, 1000), (777, 5000), (size - 10, size), (size - 10, size + 99), (0, size + 1)]
        async with self.opened({"a.bin": BODY}) as store:
            for start, stop in ranges:
                assert await store.get("a.bin", (start, stop)) == BODY[start:stop], (start, stop)

    async def test_a_range_beyond_the_end_is_an_error(self) -> None:
        """It asks for bytes that are not there; no bytes would pass for a sample."""
        async with self.opened({"a.bin": b"0123456789"}) as store:
            for byte_range in ((10, 20), (500, 600)):
                outcome = (await asyncio.gather(store.get("a.bin", byte_range), return_exceptions=True))[0]
                assert isinstance(outcome, StoreError), outcome
                assert "a.bin" in str(outcome)

    async def test_an_empty_object_is_no_bytes(self) -> None:
        """Empty is not missing."""
        async with self.opened({"empty.bin": b"", "a.bin": b"a"}) as store:
            assert await store.get("empty.bin") == b""
            assert await store.size("empty.bin") == 0

    async def test_size_is_the_length(self) -> None:
        """In bytes."""
        async with self.opened({"a.bin": b"abc", "b.bin": BODY}) as store:
            assert await store.size("a.bin") == 3
            assert await store.size("b.bin") == len(BODY)

    async def test_a_missing_key_is_named(self) -> None:
        """Get, range and size say which key, and the error survives pickle."""
        async with self.opened({"a.bin": b"a"}) as store:
            for attempt in (
                store.get("folder/missing.bin"),
                store.get("folder/missing.bin", (0, 5)),
                store.size("folder/missing.bin"),
            ):
                outcome = (await asyncio.gather(attempt, return_exceptions=True))[0]
                assert isinstance(outcome, ObjectNotFoundError), outcome
                assert "folder/missing.bin" in str(outcome)
                assert str(pickle.loads(pickle.dumps(outcome))) == str(outcome)

    async def test_list_gives_every_object_once(self) -> None:
        """With keys relative to the root, and sizes."""
        objects = {f"class-{i % 3}/deep/{i:03}.bin": b"x" * i for i in range(60)} | {"top.bin": b"abc"}
        async with self.opened(objects) as store:
            listed = [meta async for meta in store.list()]
            assert sorted(meta.key for meta in listed) == sorted(objects)
            for meta in listed:
                known = {len(objects[meta.key])} if self.lists_sizes else {len(objects[meta.key]), None}
                assert meta.size_bytes in known, meta

    async def test_list_gives_what_starts_with_the_prefix(self) -> None:
        """A prefix is text, not a folder."""
        objects = dict.fromkeys(["cat/1.bin", "cat/2.bin", "cats/3.bin", "dog/4.bin", "ca.bin"], b"x")
        async with self.opened(objects) as store:
            for prefix in ("cat/", "cat", "ca", "cat/2", "cat/2.bin", "zebra", "cat/1.bin/"):
                keys = sorted([meta.key async for meta in store.list(prefix)])
                assert keys == sorted(key for key in objects if key.startswith(prefix)), prefix

    async def test_odd_keys_come_back_exactly(self) -> None:
        """Each odd key is listed as it is, and gets the object of that very key."""
        keys = [key for key in ODD_KEYS if key not in self.unstorable_keys]
        objects = {key: f"body of {key}".encode() for key in keys}
        async with self.opened(objects) as store:
            for key, body in objects.items():
                assert await store.get(key) == body, key
                assert await store.size(key) == len(body), key
            listed = {meta.key async for meta in store.list()}
            hidden = {key for key in keys if any(name.startswith(".") for name in key.split("/"))}
            assert listed == set(keys) - (set() if self.lists_hidden else hidden)

    async def test_sixty_four_at_once_get_their_own_bytes(self) -> None:
        """No answer reaches the wrong caller."""
        objects = {f"{i}.bin": str(i).encode() * (1 + 997 * i % 5000) for i in range(64)}
        async with self.opened(objects) as store:
            keys = list(objects) * 2
            bodies = await asyncio.gather(*(store.get(key) for key in keys))
            assert [objects[key] for key in keys] == bodies

    async def test_a_cancelled_get_leaves_the_store_usable(self) -> None:
        """Cancelled before, at and after its start; the next ones get their own bytes."""
        async with self.opened({"a.bin": BODY, "b.bin": BODY[::-1]}) as store:
            for turns in range(12):
                task = asyncio.ensure_future(store.get("a.bin"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                outcome = (await asyncio.gather(task, return_exceptions=True))[0]
                assert outcome == BODY or isinstance(outcome, asyncio.CancelledError), outcome
                assert await store.get("b.bin") == BODY[::-1]

    async def test_aclose_twice_and_use_again(self) -> None:
        """Closing is idempotent, and a closed store opens again."""
        async with self.opened({"a.bin": b"abc"}) as store:
            await store.aclose()
            assert await store.get("a.bin") == b"abc"
            await store.aclose()
            await store.aclose()
            assert await store.size("a.bin") == 3
            assert [meta.key async for meta in store.list()] == ["a.bin"]

    async def test_each_event_loop_has_its_own_connections(self) -> None:
        """Used from a second loop, in another thread, while the first is open; each closes its own."""
        async with self.opened({"a.bin": BODY}) as store:

            async def elsewhere() -> bytes:
                try:
                    return await store.get("a.bin")
                finally:
                    await store.aclose()

            assert await store.get("a.bin") == BODY
            for _ in range(2):
                assert await asyncio.to_thread(asyncio.run, elsewhere()) == BODY
                assert await store.get("a.bin") == BODY

    async def test_leaving_a_listing_early_leaves_nothing_open(self) -> None:
        """The rest is not fetched, and the store goes on."""
        async with self.opened({f"{i}/{i}.bin": b"x" for i in range(20)}) as store:
            async for _ in store.list():
                break
            assert await store.get("7/7.bin") == b"x"
