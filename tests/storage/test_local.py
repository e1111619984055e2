"""Files: what is a sample, what is refused, what the system's errors become."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import (
    AccessDeniedError,
    ConnectFailedError,
    ObjectNotFoundError,
    OptionError,
    RangeNotHonouredError,
    ServerFailedError,
    StoreError,
)
from aioloader.storage.local.files import translate
from aioloader.storage.local.store import LocalStore

if TYPE_CHECKING:
    from tests.storage.conftest import Closing


@pytest.mark.parametrize(
    "key", ["", "../secret", "a/../../secret", "/etc/passwd", "./a.bin", "a//b", "a/", "a\0b", ".."], ids=repr
)
async def test_a_key_cannot_leave_the_folder(key: str, tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "data").mkdir()
    store = closing(LocalStore().at(tmp_path / "data"))
    for attempt in (store.get(key), store.size(key)):
        with pytest.raises(ObjectNotFoundError, match="relative to the folder"):
            await attempt


@pytest.mark.fault(row=14, stores=("local",))
async def test_what_is_no_file_is_not_found(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    store = closing(LocalStore().at(tmp_path))
    for key, words in [
        ("folder", "a folder"),
        ("pipe", "not a regular file"),
        ("dangling", "No such file"),
        ("circle", "symbolic links"),
        ("file/below", "Not a directory"),
        ("x" * 300, "name too long"),
    ]:
        for attempt in (store.get(key), store.size(key)):
            with pytest.raises(ObjectNotFoundError, match=words):
                await attempt
    listed = {meta.key: meta.size_bytes async for meta in store.list()}
    assert listed == {"file": 1, "dangling": None, "circle": None}


async def test_links_are_followed_but_not_in_circles(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.bin").write_bytes(b"1")
    root = tmp_path / "root"
    (root / "cat" / "deep").mkdir(parents=True)
    (root / "cat" / "2.bin").write_bytes(b"22")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "linked-twice").symlink_to(tmp_path / "elsewhere")
    (root / "3.bin").symlink_to(tmp_path / "elsewhere" / "1.bin")
    (root / "cat" / "deep" / "up").symlink_to(root)
    store = closing(LocalStore().at(root))
    listed = {meta.key: meta.size_bytes async for meta in store.list()}
    assert listed == {"cat/2.bin": 2, "linked/1.bin": 1, "linked-twice/1.bin": 1, "3.bin": 1}
    assert await store.get("linked/1.bin") == b"1"


async def test_a_name_that_is_not_utf8_is_listed_and_read(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.bin")).write_bytes(b"x")
    store = closing(LocalStore().at(tmp_path))
    (meta,) = [meta async for meta in store.list()]
    assert await store.get(meta.key) == b"x"
    with pytest.raises(ObjectNotFoundError) as caught:
        await store.get(meta.key + "!")
    assert rb"caf\udce9" in str(caught.value).encode("utf-8")


async def test_the_etag_changes_with_the_file(tmp_path: Path, closing: Closing) -> None:
    file = tmp_path / "a.bin"
    store = closing(LocalStore().at(tmp_path))

    async def etag() -> str | None:
        return [meta.etag async for meta in store.list()][0]  # noqa: RUF015  # an async comprehension has no next()

    file.write_bytes(b"1")
    os.utime(file, ns=(1, 1))
    first = await etag()
    assert first == await etag()
    os.utime(file, ns=(1, 2))
    assert await etag() != first


async def test_a_missing_folder_says_so(tmp_path: Path, closing: Closing) -> None:
    store = closing(LocalStore().at(tmp_path / "nothing"))
    with pytest.raises(ObjectNotFoundError, match="nothing/: list failed: the system says 'No such file"):
        _ = [meta async for meta in store.list()]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectNotFoundError, match="Not a directory"):
        _ = [meta async for meta in closing(LocalStore().at(tmp_path / "file")).list()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_without_rights_is_denied(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    (tmp_path / "a.bin").chmod(0)
    with pytest.raises(AccessDeniedError):
        await closing(LocalStore().at(tmp_path)).get("a.bin")


@dataclass(frozen=True)
class Case:
    """One code of the system, and its target."""

    code: int
    target: type[StoreError]


CASES = [
    Case(errno.ENOENT, ObjectNotFoundError),
    Case(errno.ENOTDIR, ObjectNotFoundError),
    Case(errno.EISDIR, ObjectNotFoundError),
    Case(errno.ELOOP, ObjectNotFoundError),
    Case(errno.ENAMETOOLONG, ObjectNotFoundError),
    Case(errno.EACCES, AccessDeniedError),
    Case(errno.EPERM, AccessDeniedError),
    Case(errno.EMFILE, ConnectFailedError),
    Case(errno.ENFILE, ConnectFailedError),
    Case(errno.EIO, ServerFailedError),
    Case(errno.ESTALE, ServerFailedError),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: errno.errorcode[case.code])
def test_a_code_of_the_system_has_one_target(case: Case) -> None:
    cause = OSError(case.code, "words")
    error = translate(cause, "file:///a", (1, 2))
    assert type(error) is case.target
    assert os.strerror(case.code) in str(error)
    assert error.__cause__ is cause


@pytest.mark.parametrize(
    ("place", "location"),
    [
        ("/data/train", "file:///data/train/"),
        ("/data/train/", "file:///data/train/"),
        ("/data/a b#ü", "file:///data/a%20b%23%C3%BC/"),
        ("file:///data/a%20b/", "file:///data/a%20b/"),
        ("file://localhost/data", "file:///data/"),
        ("/", "file:///"),
        (Path("/data"), "file:///data/"),
    ],
    ids=str,
)
def test_a_place_is_a_path_or_a_file_url(place: str | Path, location: str) -> None:
    store = LocalStore().at(place)
    assert store.location == location
    assert store.origin == "file://"
    assert LocalStore().at(location).location == location


def test_home_and_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert LocalStore().at("~/x").location == LocalStore().at("x").location == f"{tmp_path.as_uri()}/x/"


@pytest.mark.parametrize("place", ["", "a\0b", "file://host/data", "file:data", "file:///a?b", "~nobody-here/x"])
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(OptionError, match="path="):
        LocalStore().at(place)


async def test_a_store_without_a_place_says_how_to_give_it_one() -> None:
    with pytest.raises(OptionError, match=r"LocalStore\(\)\.at"):
        await LocalStore().get("a")


async def test_a_wrong_range_is_refused(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "empty.bin").write_bytes(b"")
    store = closing(LocalStore().at(tmp_path))
    assert await store.get("empty.bin", (0, 5)) == b""
    with pytest.raises(OptionError, match="byte_range"):
        await store.get("empty.bin", (5, 4))
    with pytest.raises(RangeNotHonouredError, match="at 0 bytes"):
        await store.get("empty.bin", (1, 5))


async def test_many_files_are_listed_in_several_hops(tmp_path: Path, closing: Closing) -> None:
    for i in range(1100):
        (tmp_path / f"{i:04}").touch()
    store = closing(LocalStore().at(tmp_path))
    assert [meta.key async for meta in store.list()] == [f"{i:04}" for i in range(1100)]


async def test_a_store_travels_without_its_threads(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    store = closing(LocalStore().at(tmp_path))
    assert await store.get("a.bin") == b"x"
    copy = closing(pickle.loads(pickle.dumps(store)))
    assert await copy.get("a.bin") == b"x"


async def test_files_that_are_asked_for_together_come_each_to_its_own(tmp_path: Path, closing: Closing) -> None:
    for number in range(300):
        (tmp_path / f"{number}.bin").write_bytes(b"%d" % number * 50)
    store = closing(LocalStore().at(tmp_path))

    async def asked(number: int) -> bytes | str:
        try:
            return await store.get(f"{number}.bin")
        except ObjectNotFoundError as exc:
            return exc.key

    for _ in range(5):  # by and by several a hop
        found = await asyncio.gather(*(asked(number) for number in range(310)))
        assert found[:300] == [b"%d" % number * 50 for number in range(300)]
        assert all(str(found[number]).endswith(f"/{number}.bin") for number in range(300, 310))
    assert (await store.get("7.bin", (0, 2))) == b"77"


async def test_a_cancelled_read_takes_no_other_with_it(tmp_path: Path, closing: Closing) -> None:
    (tmp_path / "a").write_bytes(b"a")
    store = closing(LocalStore().at(tmp_path))
    for _ in range(20):
        tasks = [asyncio.create_task(store.get("a")) for _ in range(8)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [b"a"] * 7


async def test_where_no_thread_can_be_started_the_reads_fail(
    tmp_path: Path, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    store = closing(LocalStore().at(tmp_path))

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        results = await asyncio.gather(*(store.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError] * 3
