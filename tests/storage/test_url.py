"""From what a user types to a store, and to one object."""

from __future__ import annotations

import logging
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import ObjectNotFoundError, OptionError
from aioloader.storage.cloud.azure import AzureStore
from aioloader.storage.cloud.gcs import GCSStore
from aioloader.storage.cloud.store import CloudStore
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.local.store import LocalStore
from aioloader.storage.memory import MemoryStore
from aioloader.storage.prefix import PrefixStore
from aioloader.storage.s3.store import S3Store
from aioloader.storage.url import open_store, read_object, scheme_of
from aioloader.types import ObjectMeta, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aioloader.types import ByteRange

HERE = Path.cwd().as_uri()


class OwnStore:
    """A user's own class: the protocol and no more."""

    location = "own:///"
    origin = "own://"

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = objects
        self.closed = 0

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        start, stop = byte_range or (0, None)
        return self.objects[key][start:stop]

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        for key, body in self.objects.items():
            if key.startswith(prefix):
                yield ObjectMeta(key=key, size_bytes=len(body))

    async def size(self, key: str) -> int:
        return len(self.objects[key])

    async def aclose(self) -> None:
        self.closed += 1


@dataclass(frozen=True)
class Opened:
    url: str
    kind: type
    location: str


OPENED = [
    Opened("train", LocalStore, f"{HERE}/train/"),
    Opened("./a b", LocalStore, f"{HERE}/a%20b/"),
    Opened("/data/train", LocalStore, "file:///data/train/"),
    Opened("file:///data/tr%20ain", LocalStore, "file:///data/tr%20ain/"),
    Opened("file:/data", LocalStore, "file:///data/"),
    Opened("~/train", LocalStore, f"{Path.home().as_uri()}/train/"),
    Opened("C:\\data\\train", LocalStore, f"{HERE}/C%3A%5Cdata%5Ctrain/"),
    Opened("odd:name/train", LocalStore, f"{HERE}/odd%3Aname/train/"),
    Opened("http://h.example/x", HTTPStore, "http://h.example/x/"),
    Opened("HTTPS://h.example/x/", HTTPStore, "https://h.example/x/"),
    Opened("s3://bucket/x", S3Store, "s3://bucket/x/"),
    Opened("s3a://bucket/x", S3Store, "s3://bucket/x/"),
    Opened("gs://bucket/x", GCSStore, "gs://bucket/x/"),
    Opened("gcs://bucket", GCSStore, "gs://bucket/"),
    Opened("az://container/x", AzureStore, "az://container/x/"),
    Opened("abfs://container/x", AzureStore, "az://container/x/"),
    Opened("abfss://c@acct.dfs.core.windows.net/x", AzureStore, "az://c/x/"),
    Opened("memory://name/x", MemoryStore, "memory://name/x/"),
]


@pytest.mark.parametrize("case", OPENED, ids=lambda case: case.url)
def test_each_address_opens_its_store(case: Opened) -> None:
    store = open_store(case.url)
    assert type(store) is case.kind
    assert store.location == case.location
    assert isinstance(store, Store)


def test_a_path_object_is_a_path() -> None:
    assert open_store(Path("/data")).location == "file:///data/"


@pytest.mark.parametrize("url", ["pipe:cat secret", "ftp://host/x", "hdfs://host/x", "hf://datasets/x"])
async def test_an_unknown_scheme_lists_the_known_ones(url: str) -> None:
    with pytest.raises(OptionError, match=r"s3://, gs://, az:// or memory://"):
        open_store(url)
    with pytest.raises(OptionError, match=r"s3://, gs://, az:// or memory://"):
        await read_object(url)


@pytest.mark.parametrize(
    ("store", "url"),
    [
        (HTTPStore(), "s3://bucket/x"),
        (S3Store(), "http://h/x"),
        (GCSStore(), "az://c/x"),
        (AzureStore(account="a"), "gs://c/x"),
        (LocalStore(), "http://h/x"),
        (OwnStore({}), "s3://bucket/x"),
        (S3Store(), "x/"),
        (HTTPStore(), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_address_that_is_not_the_stores_is_refused(store: Store, url: str) -> None:
    with pytest.raises(OptionError):
        open_store(url, store)


def test_a_given_stores_options_are_kept() -> None:
    assert "region='r'" in repr(open_store("s3://bucket/x", S3Store(region="r")))
    bound = S3Store(region="r").at("s3://one/a")
    assert repr(open_store("s3://two/b", bound)) == "S3Store('s3://two/b/', region='r')"


async def test_a_folder_of_a_users_own_store() -> None:
    own = OwnStore({"train/a.bin": b"abc", "trainer/b.bin": b"no", "c.bin": b"no"})
    assert open_store("", own) is own
    for folder in ("train", "train/"):
        store = open_store(folder, own)
        assert isinstance(store, PrefixStore)
        assert isinstance(store, Store)
        assert store.location == "own:///train/"
        assert store.origin == "own://"
        assert await store.get("a.bin", (1, 3)) == b"bc"
        assert await store.size("a.bin") == 3
        assert [meta.key async for meta in store.list()] == ["a.bin"]
        assert [meta.key async for meta in store.list("b")] == []
        await store.aclose()
    assert own.closed == 2
    assert await read_object("train/a.bin", own) == b"abc"
    assert own.closed == 2


async def test_a_memory_store_with_objects_is_used_as_it_is() -> None:
    memory = MemoryStore({"train/a.bin": b"abc"})
    assert await open_store("", memory).get("train/a.bin") == b"abc"
    assert await open_store("train", memory).get("a.bin") == b"abc"
    assert await read_object("train/a.bin", memory) == b"abc"


@pytest.mark.parametrize("name", ["index.jsonl", "in dex%20.csv", "ü.csv"])
async def test_one_file_by_its_own_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"abc")
    assert await read_object(tmp_path / name) == b"abc"
    assert await read_object(str(tmp_path / name)) == b"abc"
    assert await read_object((tmp_path / name).as_uri()) == b"abc"
    monkeypatch.chdir(tmp_path)
    assert await read_object(name) == b"abc"
    assert await read_object(os.path.join(".", name), LocalStore()) == b"abc"  # noqa: PTH118  # a user's spelling
    with pytest.raises(ObjectNotFoundError):
        await read_object("missing.csv")


async def test_one_object_in_memory_by_its_own_address() -> None:
    MemoryStore.at("memory://read-object/x").put("a b.csv", b"abc")
    assert await read_object("memory://read-object/x/a%20b.csv") == b"abc"


async def test_a_folder_is_not_one_object() -> None:
    with pytest.raises(OptionError, match="one object"):
        await read_object("s3://bucket/folder/")


async def test_a_presigned_address_is_sent_as_written_and_never_shown(
    bucket: Callable[..., AbstractAsyncContextManager[object]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    written = "a%7e(1)+%C3%BC%2f.csv?X-Amz-Signature=CANARY%2B&b=CANARY%20+~&empty"
    async with bucket({"a~(1)+ü/.csv": b"abc"}) as server:
        url = vars(server)["url"] + written
        assert await read_object(url) == b"abc"
        assert vars(server)["requests"][-1].raw_path == "/root/" + written
        with pytest.raises(ObjectNotFoundError) as caught:
            await read_object(url.replace("(1)", "(2)"))
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__) + caplog.text
    assert "CANARY" not in told
    assert "X-Amz-Signature=…" in str(caught.value)


async def test_a_given_http_stores_headers_go_with_the_object(
    bucket: Callable[..., AbstractAsyncContextManager[object]],
) -> None:
    async with bucket({"a ü.csv": b"abc"}) as server:
        store = HTTPStore(headers={"Authorization": "Bearer CANARY"})
        assert await read_object(vars(server)["url"] + "a ü.csv", store) == b"abc"
        assert vars(server)["requests"][-1].headers["Authorization"] == "Bearer CANARY"


@pytest.mark.parametrize("url", ["http://h.example/a.csv?sig=CANARY", "http://me:CANARY@h.example/a.csv"])
async def test_secrets_do_not_cross_a_network_in_the_clear(url: str) -> None:
    with pytest.raises(OptionError, match="https://") as caught:
        await read_object(url)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "scheme"),
    [("S3://x", "s3"), ("c:/x", None), ("c://x", None), ("x/y://z", None), ("file:x", "file"), ("", None)],
)
def test_a_scheme_is_told_from_a_path(text: str, scheme: str | None) -> None:
    assert scheme_of(text) == scheme


def test_no_scheme_is_known_to_one_side_only() -> None:
    for cls in (GCSStore, AzureStore):
        assert issubclass(cls, CloudStore)
        for scheme in cls._schemes:
            assert type(open_store(f"{scheme}://bucket/x")) is cls


@pytest.mark.parametrize("url", [None, 3, ["a/"], b"a/"])
def test_what_is_no_address_is_refused_with_what_would_be_one(url: object) -> None:
    with pytest.raises(OptionError, match=f"url=a {type(url).__name__}"):
        open_store(url)  # type: ignore[arg-type]  # the mistake under test
