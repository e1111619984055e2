"""Listings of which pages fail: every object once, or an error that says why; nothing waits for ever."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.errors import (
    AccessDeniedError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.storage.cloud.gcs import GCSStore
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.storage.prefix import PrefixStore
from aioloader.storage.s3.store import S3Store
from aioloader.testing import Fault, FaultServer
from aioloader.types import ObjectMeta
from tests.faults.fake_s3 import FakeS3, in_a_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioloader.types import ByteRange, Store
    from tests.storage.conftest import NewStore

QUICK = Retry(base_s=0.001, throttled_base_s=0.002)
OBJECTS = {f"class-{number % 7}/{number:04}.jpg": b"x" * (number % 5 + 1) for number in range(3000)}
KEYS: dict[str, Any] = {"access_key_id": "id", "secret_access_key": "secret"}


def s3(server: FakeS3, idle_timeout_s: float = 10.0) -> S3Store:
    return S3Store(endpoint=server.url, region="us-east-1", idle_timeout_s=idle_timeout_s, **KEYS).at("s3://bbb/")


async def listed(store: Store, prefix: str = "", retry: Retry = QUICK) -> list[str]:
    retrying = RetryingStore(store, retry)
    try:
        return [meta.key async for meta in retrying.list(prefix)]
    finally:
        await retrying.aclose()


@dataclass(frozen=True)
class Case:
    """What the first pages of a listing meet, and how many are asked for in all."""

    id: str
    faults: tuple[str, ...]
    pages: int
    prefix: str = ""


PASSING = [
    Case("no fault", (), 3),
    Case("first page", ("503",), 4),
    Case("first page thrice", ("503", "reset", "503"), 6),
    Case("silent", ("silent",), 4),
    Case("a prefix", ("reset", "503"), 3, "class-3/0"),
]


@pytest.mark.parametrize("case", PASSING, ids=lambda case: case.id)
async def test_a_page_of_a_bucket_is_asked_for_again(case: Case) -> None:
    async with FakeS3(OBJECTS, page_faults=case.faults) as server:
        found = await listed(s3(server, 0.5), case.prefix)
    assert found == sorted(key for key in OBJECTS if key.startswith(case.prefix))
    assert len(server.pages) == case.pages


@pytest.mark.parametrize("ignores_start_after", [False, True])
@pytest.mark.parametrize("seed", range(5))
async def test_no_object_is_lost_or_repeated(seed: int, *, ignores_start_after: bool) -> None:
    draw = random.Random(seed)
    faults = draw.choices(("503", "reset", "good", "good", "good"), k=40)
    page_keys = draw.choice((30, 100, 333))
    async with FakeS3(OBJECTS, page_keys=page_keys, ignores_start_after=ignores_start_after) as server:
        server.page_faults = list(faults)
        found = await listed(s3(server), retry=Retry(base_s=0, throttled_base_s=0, attempts=40))
    assert found == sorted(OBJECTS)
    assert len(server.pages) > 3000 // page_keys + 1


@pytest.mark.parametrize("failing", range(6))
async def test_a_folders_marker_behind_a_file_of_its_name_is_no_turn(failing: int) -> None:
    """ "train.json" is listed before "train/", whose slash obstore drops."""
    objects = {f"a{number:03}": b"a" for number in range(130)}
    objects |= {"train.json": b"{}", "train/": b"", "train/1.jpg": b"1", "train/2.jpg": b"2", "z": b"z"}
    async with FakeS3(objects, page_keys=50, page_faults=["good"] * failing + ["503"]) as server:
        found = await listed(s3(server))
    assert found == [key for key in sorted(objects) if key != "train/"]


async def test_a_listing_goes_on_behind_the_last_page() -> None:
    async with FakeS3(OBJECTS) as server:
        found = []
        store = RetryingStore(s3(server), QUICK)
        async for meta in store.list():
            found.append(meta.key)
            if len(found) == 999:  # one is held back
                server.page_faults = ["503"]
        await store.aclose()
    assert found == sorted(OBJECTS)
    assert [page.get("start-after", "") for page in server.pages if page["fault"] == ""][-2:] == [
        found[999],
        found[999],
    ]


async def test_a_listing_that_fails_for_ever_ends() -> None:
    async with FakeS3(OBJECTS, page_faults=["503"] * 100) as server:
        with pytest.raises(ThrottledError, match="attempt 6"):
            await listed(s3(server))
    assert len(server.pages) == 6


async def test_a_listing_without_answer_ends_with_a_sentence() -> None:
    async with FakeS3(OBJECTS, page_faults=["silent"] * 100) as server:
        with pytest.raises(TransferStalledError, match="no answer within the deadline; attempt 2"):
            await listed(s3(server, 0.3), retry=Retry(attempts=2, base_s=0))


async def test_empty_pages_without_end_are_a_stall() -> None:
    async with FakeS3(OBJECTS, page_faults=["empty"], latency_s=0.01) as server:
        with pytest.raises(TransferStalledError, match=r"listing gave nothing for 1\.2 s"):
            await listed(s3(server, 0.1), retry=Retry(attempts=1))
    assert len(server.pages) > 5


@pytest.mark.parametrize("page_keys", [1000, 300, 7])
async def test_the_same_token_again_is_an_error(page_keys: int) -> None:
    async with FakeS3(OBJECTS, page_keys=page_keys, page_faults=["same token"]) as server:
        with pytest.raises(ServerFailedError, match=r"lists the same objects again.*continuation token"):
            await listed(s3(server))
    assert len(server.pages) * page_keys < 12_000


async def test_a_denied_listing_is_not_asked_for_again() -> None:
    async with FakeS3(OBJECTS) as server:
        server.denies = "AccessDenied"
        with pytest.raises(AccessDeniedError, match="AccessDenied"):
            await listed(s3(server))
    assert server.refused == 1


async def test_google_lists_the_same_way() -> None:
    async with FakeS3(OBJECTS, page_faults=("503", "reset")) as server:
        assert await listed(GCSStore(endpoint=server.url, anonymous=True).at("gs://bbb/")) == sorted(OBJECTS)


PAGE = b'<title>Index of /</title><pre><a href="cat/">cat/</a>\n<a href="dog/">dog/</a>'
CATS = b"<title>Index of /cat/</title><pre>" + b"\n".join(b'<a href="%d.jpg">x</a>' % number for number in range(50))
SITE = {"": PAGE, "cat/": CATS, "dog/": CATS.replace(b"/cat/", b"/dog/")}
IMAGES = sorted(f"{folder}{number}.jpg" for folder in ("cat/", "dog/") for number in range(50))
RECOVERABLE = ("reset", "cut", "silent", "stall", "status", "throttle")


@pytest.mark.parametrize("kind", RECOVERABLE)
async def test_each_directory_page_is_asked_for_again(kind: str, http: NewStore) -> None:
    faults = {key: [Fault(kind=kind, at_bytes=30)] for key in (*SITE, "index.jsonl")}
    async with FaultServer(SITE, faults) as server:
        assert sorted(await listed(http(idle_timeout_s=0.3).at(server.url))) == IMAGES
    assert {server.requests[key] for key in SITE} == {2}


@pytest.mark.parametrize("kind", RECOVERABLE)
async def test_an_index_is_asked_for_again(kind: str, http: NewStore) -> None:
    index = b"".join(b'{"key": "%s"}\n' % key.encode() for key in IMAGES)
    async with FaultServer({"index.jsonl": index}, {"index.jsonl": [Fault(kind=kind, at_bytes=100)] * 2}) as server:
        assert await listed(http(idle_timeout_s=0.3).at(server.url)) == IMAGES
    assert server.requests["index.jsonl"] == 3


async def test_sizes_are_asked_for_again(http: NewStore) -> None:
    async with FaultServer({"a": b"abc"}, {"a": [Fault(kind="status", status=500)] * 2}) as server:
        store = RetryingStore(http().at(server.url), QUICK)
        assert await store.size("a") == 3
        await store.aclose()


def test_datasets_are_listed_again_before_there_is_a_loader() -> None:
    with in_a_thread(FakeS3(OBJECTS, page_faults=("503", "reset"))) as server:
        store = S3Store(endpoint=server.url, region="us-east-1", **KEYS)
        data = al.image_folder("s3://bbb/", store=store)
        assert list(data.keys) == sorted(OBJECTS)


def test_a_manifest_is_asked_for_again() -> None:
    from tests.faults.drill import serving

    rows = b"key,label\na.bin,1\nb.bin,2\n"
    faults = {"rows.csv": [Fault(kind="cut", at_bytes=8), Fault(kind="status")]}
    with serving(FaultServer({"rows.csv": rows}, faults)) as server:
        assert len(al.manifest(server.url + "rows.csv")) == 2
        assert server.requests["rows.csv"] == 3
        data = al.manifest("rows.csv", store=al.HTTPStore().at(server.url))
        assert list(data.keys) == ["a.bin", "b.bin"]


def test_a_manifest_in_a_bucket_is_asked_for_again() -> None:
    with in_a_thread(FakeS3({"rows.csv": b"key,label\na.bin,1\n"})) as server:
        server.busy = 2
        store = S3Store(endpoint=server.url, region="us-east-1", **KEYS)
        assert len(al.manifest("s3://bbb/rows.csv", store=store)) == 1
        assert server.asked["rows.csv"] == 3


class Flaky:
    """A user's store without pages: its listing breaks off at ``breaks``, and may come in another order then."""

    location, origin = "flaky://x/", "flaky://x"

    def __init__(self, breaks: list[int], *, shuffled: bool = False) -> None:
        self.breaks = breaks
        self.keys = [f"in/{number}" for number in range(500)]
        self.shuffled = shuffled
        self.listings = 0

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        return b""

    async def size(self, key: str) -> int:
        return 0

    async def aclose(self) -> None:
        """Nothing is open."""

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        self.listings += 1
        keys = self.keys[::-1] if self.shuffled and self.listings > 1 else self.keys
        at = self.breaks.pop(0) if self.breaks else len(keys)
        for key in keys[:at]:
            yield ObjectMeta(key=key)
        if at < len(keys):
            raise TruncatedBodyError("broke off", self.location)


@pytest.mark.parametrize("breaks", [[], [0], [5, 100, 499], [250, 50, 250]], ids=str)
async def test_a_store_without_pages_lists_from_the_start(breaks: list[int]) -> None:
    store = Flaky(list(breaks))
    assert await listed(store) == store.keys
    assert store.listings == len(breaks) + 1
    folder = PrefixStore(Flaky(list(breaks)), "in/")
    assert await listed(folder) == [key.removeprefix("in/") for key in store.keys]


async def test_a_store_that_lists_in_another_order_then_is_an_error() -> None:
    with pytest.raises(StoreError, match="another order"):
        await listed(Flaky([250], shuffled=True))
