"""A store behind a cache: what is asked for, what comes from disk, and that no damage there reaches anybody."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import pickle
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aioloader.cli.main import main
from aioloader.errors import ObjectNotFoundError, OptionError
from aioloader.storage.cache import admission as cache_admission
from aioloader.storage.cache.entry import HEADER_BYTES
from aioloader.storage.cache.options import CacheOptions
from aioloader.storage.cache.store import CachingStore
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.local.store import LocalStore
from aioloader.storage.memory import MemoryStore
from aioloader.storage.policies.stack import with_policies
from aioloader.testing import Fault, FaultServer
from tests.storage.cache_rig import QUICK, bodies, cached, caching, entry_files, known, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.types import ByteRange, Store


async def read_all(store: CachingStore, objects: dict[str, bytes]) -> None:
    """Every object, at once, with its own bytes."""
    keys = list(objects)
    found = await asyncio.gather(*(store.get(key, None, known(key, size_bytes=len(objects[key]))) for key in keys))
    assert dict(zip(keys, found, strict=True)) == objects


async def test_what_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    objects = bodies(40) | {"empty": b""}
    async with FaultServer(objects) as server:
        async with cached(server.url, tmp_path / "cache") as store:
            await read_all(store, objects)
            await until(lambda: store.counts.written == 41)
            await read_all(store, objects)
            assert replace(store.counts, written_bytes=0, hit_bytes=0) == replace(
                type(store.counts)(), hits=41, misses=41, written=41
            )
            assert store.counts.hit_bytes == sum(map(len, objects.values()))
        async with cached(server.url, tmp_path / "cache") as store:  # another run
            await read_all(store, objects)
        assert set(server.requests.values()) == {1}


async def test_what_is_written_when_it_is_closed_is_kept(tmp_path: Path) -> None:
    objects = bodies(40)
    async with FaultServer(objects) as server:
        async with cached(server.url, tmp_path / "cache") as store:
            await read_all(store, objects)
        assert len(entry_files(tmp_path / "cache")) == 40


async def test_ranges_are_entries_of_their_own(tmp_path: Path) -> None:
    whole = bodies(1)["0000.bin"]
    async with FaultServer({"a": whole}) as server, cached(server.url, tmp_path / "cache") as store:
        ranges: list[ByteRange | None] = [(0, 10), (10, 20), (0, 11), None]
        for _ in range(2):
            for byte_range in ranges:
                start, stop = byte_range or (0, len(whole))
                assert await store.get("a", byte_range, known("a", size_bytes=len(whole))) == whole[start:stop]
            await until(lambda: store.counts.written == 4)
        assert server.requests["a"] == 4


async def test_a_changed_object_is_another_entry(tmp_path: Path) -> None:
    versions = [b"v%d!" % number for number in range(5)]
    etags = [f'"{md5(version, usedforsecurity=False).hexdigest()}"' for version in versions]
    listings = [
        known("a", etag=etags[0]),
        known("a", etag=etags[1]),
        known("a", etag=etags[2], size_bytes=3),
        known("a", size_bytes=3),
        known("a"),
    ]
    async with FaultServer({}) as server, cached(server.url, tmp_path / "cache") as store:
        for number, (version, listed) in enumerate(zip(versions, listings, strict=True)):
            server.objects["a"] = version
            assert await store.get("a", None, listed) == version
            await until(lambda number=number: store.counts.written == number + 1)  # type: ignore[misc]  # binds the loop's number
        for version, listed in zip(versions, listings, strict=True):
            assert await store.get("a", None, listed) == version
        assert server.requests["a"] == len(listings)


async def test_what_is_not_as_long_as_listed_is_not_kept(tmp_path: Path) -> None:
    async with FaultServer({"a": b"12345"}) as server, cached(server.url, tmp_path / "cache") as store:
        for _ in range(2):
            assert await store.get("a", None, known("a", size_bytes=4)) == b"12345"  # the caller refuses it
            assert await store.get("a", (3, 9), known("a", size_bytes=9)) == b"45"
        assert server.requests["a"] == 4
    assert entry_files(tmp_path / "cache") == []


async def test_failures_are_the_bases_and_leave_nothing(tmp_path: Path) -> None:
    faults = {"0000.bin": [Fault(kind="status", status=500), Fault(kind="reset", at_bytes=100)]}
    async with FaultServer(bodies(1), faults) as server, cached(server.url, tmp_path / "cache") as store:
        with pytest.raises(ObjectNotFoundError):
            await store.get("nothing")
        await read_all(store, bodies(1))
        assert store.counts.misses == 2
    assert len(entry_files(tmp_path / "cache")) == 1


async def test_two_samples_of_one_object_are_one_entry(tmp_path: Path) -> None:
    async with FaultServer(bodies(1)) as server, cached(server.url, tmp_path / "cache") as store:
        await asyncio.gather(*(read_all(store, bodies(1)) for _ in range(5)))
    assert store.counts.written == 1
    assert len(entry_files(tmp_path / "cache")) == 1


# -- damage ------------------------------------------------------------------------------------------------------


def flip(place: int) -> Callable[[bytes], bytes]:
    def damage(entry: bytes) -> bytes:
        where = place % len(entry)
        return entry[:where] + bytes([entry[where] ^ 0x10]) + entry[where + 1 :]

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "magic": flip(2),
    "layout": flip(8),
    "flags": flip(10),
    "checksum of the body": flip(13),
    "identity": flip(20),
    "length": flip(50),
    "checksum of the header": flip(HEADER_BYTES - 1),
    "first byte": flip(HEADER_BYTES),
    "a byte within": flip(2000),
    "last byte": flip(-1),
    "cut within the header": lambda entry: entry[:30],
    "without a body": lambda entry: entry[:HEADER_BYTES],
    "without its last byte": lambda entry: entry[:-1],
    "a byte more": lambda entry: entry + b"x",
    "empty": lambda entry: b"",
    "all zeros": lambda entry: bytes(len(entry)),
    "zeros from a page on": lambda entry: entry[:4096] + bytes(len(entry) - 4096),
    "another program's": lambda entry: b"\x89PNG" * 100,
}


@pytest.mark.fault(row=28, stores=("http",))
async def test_no_damage_is_trusted_and_none_is_fatal(tmp_path: Path) -> None:
    objects = bodies(len(DAMAGES) + 4)
    async with FaultServer(objects) as server:
        async with cached(server.url, tmp_path / "cache") as store:
            await read_all(store, objects)
        files = entry_files(tmp_path / "cache")
        for file, damage in zip(files, DAMAGES.values(), strict=False):
            file.write_bytes(damage(file.read_bytes()))
        one, other = files[-2:]  # two that changed places
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
        async with cached(server.url, tmp_path / "cache") as store:
            await read_all(store, objects)
            bad = len(DAMAGES) + 2
            assert (store.counts.hits, store.counts.misses, store.counts.bad) == (2, bad, bad)
            await until(lambda: store.counts.written == bad)
            await read_all(store, objects)
            assert store.counts.bad == bad
        assert sum(server.requests.values()) == len(objects) + bad


async def test_an_entry_that_cannot_be_read_now_is_fetched_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = bodies(1)
    async with FaultServer(objects) as server, cached(server.url, tmp_path / "cache") as store:
        await read_all(store, objects)
        await until(lambda: store.counts.written == 1)

        def no_descriptor(*arguments: object, **options: object) -> int:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", no_descriptor)
            await read_all(store, objects)
        assert (store.counts.bad, len(entry_files(tmp_path / "cache"))) == (0, 1)
        await read_all(store, objects)
        assert (store.counts.hits, server.requests["0000.bin"]) == (1, 2)


# -- giving way --------------------------------------------------------------------------------------------------


async def test_where_the_disk_is_slower_than_the_store_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_admission, "WAITING_BYTES", 20_000)
    objects = bodies(60)
    async with FaultServer(objects) as server, cached(server.url, tmp_path / "cache") as store:
        await read_all(store, objects)
        counts = store.counts
        await until(lambda: counts.written + counts.dropped == 60)
        assert counts.dropped > 0
        written = counts.written
        assert written >= 4
        await read_all(store, objects)
        assert counts.hits == written


async def test_a_directory_that_takes_nothing_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache_admission, "_PAUSE_S", 0.05)
    objects = bodies(60)
    path = tmp_path / "cache"
    async with FaultServer(objects) as server, cached(server.url, path) as store:
        await read_all(store, bodies(1))
        await until(lambda: store.counts.written == 1)
        (path / "tmp").rename(path / "aside")
        (path / "tmp").write_text("in the way")
        for _ in range(3):
            await read_all(store, objects)
            await until(lambda: store.counts.stopped == errno.ENOTDIR)
            await asyncio.sleep(0.06)
        (path / "tmp").unlink()
        (path / "aside").rename(path / "tmp")
        await read_all(store, objects)
        await until(lambda: store.counts.written > 1)
        assert store.counts.stopped == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert (
        f"the cache {path} takes nothing more: Not a directory; what is not in it comes from the store" in warnings[0]
    )


async def test_a_full_cache_says_so_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    objects = bodies(60)
    async with FaultServer(objects) as server, cached(server.url, tmp_path / "cache", 300_000) as store:
        await read_all(store, objects)
        await until(lambda: store.counts.stopped == -1 and store.counts.written == 300_000 // 8192)
        await read_all(store, objects)
        assert store.counts.hits == store.counts.written == sum(server.requests[key] == 1 for key in objects)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_full_cache_is_left_alone_for_a_while(tmp_path: Path) -> None:
    objects, path = bodies(60), tmp_path / "cache"
    async with FaultServer(objects) as server, cached(server.url, path, 300_000) as store:
        await read_all(store, objects)
        await until(lambda: store.counts.stopped == -1 and store.counts.written == 300_000 // 8192)
        await asyncio.to_thread(main, ["cache", "clear", str(path)])
        await read_all(store, objects)  # each would find room, and none looks
    assert entry_files(path) == []
    assert store.counts.misses == 120


# -- what else a store is ----------------------------------------------------------------------------------------


def test_what_is_on_this_machine_is_not_kept_twice(tmp_path: Path) -> None:
    options = CacheOptions.checked(tmp_path / "cache", "1MB")
    for base in (LocalStore().at(tmp_path), MemoryStore({"a": b"a"})):
        assert not isinstance(with_policies(base, retry=QUICK, cache=options), CachingStore)
    assert not (tmp_path / "cache").exists()


async def test_it_goes_to_other_processes_without_what_it_holds(tmp_path: Path) -> None:
    async with FaultServer(bodies(3)) as server:
        async with cached(server.url, tmp_path / "cache") as store:
            await read_all(store, bodies(3))
            copy = pickle.loads(pickle.dumps(store))
        assert isinstance(copy, CachingStore)
        assert copy.counts.misses == 0
        await read_all(copy, bodies(3))
        await copy.aclose()
        assert (copy.counts.hits, set(server.requests.values())) == (3, {1})


async def test_a_store_that_was_closed_opens_anew(tmp_path: Path) -> None:
    async with FaultServer(bodies(3)) as server, cached(server.url, tmp_path / "cache") as store:
        await read_all(store, bodies(3))
        await store.aclose()
        await read_all(store, bodies(3))
        assert store.counts.hits == 3


async def test_cancelling_the_first_look_leaves_nothing_open(tmp_path: Path) -> None:
    store = caching(HTTPStore().at("http://127.0.0.1:9/"), tmp_path / "cache")
    look = asyncio.ensure_future(store.get("a"))
    await asyncio.sleep(0)
    look.cancel()
    await asyncio.gather(look, return_exceptions=True)
    await store.aclose()  # what is left open, the fixtures see


@pytest.mark.parametrize("use", ["prepare", "get"])
async def test_a_directory_that_cannot_be_a_cache_is_an_option_error(tmp_path: Path, use: str) -> None:
    (tmp_path / "file").write_text("x")
    store = caching(HTTPStore().at("http://127.0.0.1:9/"), tmp_path / "file")
    with pytest.raises(OptionError, match=r"cache=.*this is a file"):
        await (store.get("a") if use == "get" else asyncio.to_thread(store.prepare))
    await store.aclose()


async def test_a_directory_that_cannot_be_opened_now_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects = bodies(5)
    path = Path("/proc/nowhere/cache")
    async with FaultServer(objects) as server, cached(server.url, path) as store:
        await read_all(store, objects)
        await read_all(store, objects)
        assert server.requests["0000.bin"] == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "cannot be opened: No such file or directory" in warnings[0]


SECRET = "hunter2-S3CR3T"


def with_user_info(url: str) -> tuple[Store, str]:
    return HTTPStore().at(url.replace("http://", f"http://someone:{SECRET}@")), "0000.bin"


def with_query(url: str) -> tuple[Store, str]:
    return HTTPStore().at(f"{url}?sig={SECRET}"), "0000.bin"


def with_headers(url: str) -> tuple[Store, str]:
    return HTTPStore(headers={"Authorization": f"Bearer {SECRET}"}).at(url), "0000.bin"


def with_absolute_keys(url: str) -> tuple[Store, str]:
    from aioloader.storage.absolute import AbsoluteStore

    host = url.split("/")[2]
    return AbsoluteStore(
        HTTPStore().at(url), allow_hosts=[host]
    ), f"{url}0000.bin?X-Amz-Signature={SECRET}&key={SECRET}"


@pytest.mark.parametrize("make", [with_user_info, with_query, with_headers, with_absolute_keys])
async def test_no_secret_and_no_key_is_on_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[str], tuple[Store, str]]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FaultServer(bodies(1)) as server:
        base, key = make(server.url)
        store = caching(base, tmp_path / "cache")
        await store.get(key)
        await store.aclose()
    files = entry_files(tmp_path / "cache")
    assert len(files) == 1
    files[0].write_bytes(b"")
    for path in (tmp_path / "cache").rglob("*"):
        assert SECRET not in path.name
        assert "0000" not in path.name
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
    async with FaultServer(bodies(1)) as server:
        store = caching(base, tmp_path / "cache")
        with pytest.raises(Exception):  # noqa: B017, PT011  # the server has another port; what is logged counts
            await store.get(key)
        await store.aclose()
    assert SECRET not in caplog.text


class Remote(MemoryStore):
    """As far away as a bucket."""

    @property
    def origin(self) -> str:
        return "https://host:443"


def other_files(above: Path, cache: Path) -> set[str]:
    files = {path for path in above.rglob("*") if not path.is_dir()}
    return {file.name for file in files - set(entry_files(cache))}


@pytest.mark.parametrize("key", ["../../x", "a/../../x", "..", "%2e%2e/x"])
async def test_no_key_leads_out_of_the_cache(tmp_path: Path, key: str) -> None:
    path = tmp_path / "above" / "cache"
    store = caching(Remote({key: b"body"}), path)
    assert await store.get(key) == b"body"
    await store.aclose()
    assert len(entry_files(path)) == 1
    assert other_files(tmp_path, path) == {"aioloader-cache", "users.lock", "count.lock"}
