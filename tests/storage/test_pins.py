"""Objects are read as they were listed: by their ETag, and another object is an error."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.errors import ObjectChangedError
from aioloader.storage.absolute import AbsoluteStore
from aioloader.storage.memory import MemoryStore
from aioloader.storage.pins import is_another, strong_etag
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.storage.prefix import PrefixStore
from aioloader.testing import Fault, FaultServer
from aioloader.types import SampleRef, VersionedStore
from tests.faults.drill import serving
from tests.storage.conftest import run_bucket

if TYPE_CHECKING:
    from aioloader.types import ByteRange, Store
    from tests.storage.conftest import NewStore

QUICK = Retry(base_s=0.001)
BODY = random.Random(0).randbytes(200_000)
KEY = "folder/a.bin"
ANOTHER = r"folder/a\.bin.*the object is another one by now.*List the dataset again"


def etag_of(body: bytes) -> str:
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        ('"abc"', '"abc"'),
        ('"abc-12"', '"abc-12"'),
        ("abc", '"abc"'),
        ("0x8DC", '"0x8DC"'),
        (None, None),
        ("", None),
        ('""', None),
        ('"', None),
        ('W/"abc"', None),
        ("W/abc", None),
        ('"a"b"', None),
        ('"a", "b"', None),
        ("a b", None),
        ("a\r\nX-Evil: 1", None),
        ("ümlaut", None),
    ],
)
def test_only_a_strong_tag_is_sent(listed: str | None, sent: str | None) -> None:
    assert strong_etag(listed) == sent


@pytest.mark.parametrize(
    ("found", "another"),
    [("", False), ('"a"', False), ('W/"a"', False), ("a", False), (' "a" ', False), ('"b"', True), ('W/"b"', True)],
)
def test_an_answer_is_of_the_object_unless_it_says_otherwise(found: str, *, another: bool) -> None:
    assert is_another(found, '"a"') is another


async def got(store: Store, etag: str | None, byte_range: ByteRange | None = None) -> bytes | ObjectChangedError:
    retrying = RetryingStore(store, QUICK)
    try:
        return await retrying.get(KEY, byte_range, SampleRef(index=0, key=KEY, etag=etag))
    except ObjectChangedError as exc:
        return exc
    finally:
        await store.aclose()


@dataclass(frozen=True)
class Case:
    """What is asked for, of a server that may do wrong, and what comes of it: bytes, or None for an error."""

    id: str
    etag: str | None
    faults: tuple[Fault, ...] = ()
    byte_range: ByteRange | None = None
    body: bytes | None = None


OURS, OTHER = etag_of(BODY), '"another"'
CASES = [
    Case("as listed", OURS, body=BODY),
    Case("without quotes", OURS.strip('"'), body=BODY),
    Case("a range as listed", OURS, byte_range=(5, 105), body=BODY[5:105]),
    Case("another", OTHER),
    Case("a range of another", OTHER, byte_range=(5, 105)),
    Case("the first bytes of another", OTHER, byte_range=(0, 105)),
    Case("nobody looks", OURS, (Fault(kind="ignored etag"),)),
    Case("nobody looks at a range", OURS, (Fault(kind="ignored etag"),), (5, 105)),
    Case("replaced before", OURS, (Fault(kind="changed"),)),
    Case("resumed", OURS, (Fault(kind="cut", at_bytes=70_000),), body=BODY),
    Case("repeated", OURS, (Fault(kind="status", status=500),), body=BODY),
    Case("replaced in between", OURS, (Fault(kind="cut", at_bytes=70_000), Fault(kind="changed"))),
    Case("replaced before the second try", OURS, (Fault(kind="cut"), Fault(kind="changed"))),
    Case("a weak tag", f"W/{OTHER}", body=BODY),
    Case("no tag", None, body=BODY),
    Case("an empty tag", "", body=BODY),
]


@pytest.mark.fault(row=15, stores=("http",))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_an_object_comes_as_it_was_listed(case: Case, http: NewStore) -> None:
    async with FaultServer({KEY: BODY}, {KEY: case.faults}) as server:
        found = await got(http().at(server.url), case.etag, case.byte_range)
    check(found, case)


def check(found: bytes | ObjectChangedError, case: Case) -> None:
    if case.body is not None:
        assert found == case.body
    else:
        assert isinstance(found, ObjectChangedError)
        assert re.search(ANOTHER, str(found))


@pytest.mark.parametrize("byte_range", [None, (0, 1)])
async def test_the_server_is_told_which_version(byte_range: ByteRange | None, http: NewStore) -> None:
    async with run_bucket({KEY: BODY}) as server:  # its answers have no ETag
        for etag in (OURS, "W/" + OURS):
            start, stop = byte_range or (0, len(BODY))
            assert await got(http().at(server.url), etag, byte_range) == BODY[start:stop]
        assert [request.headers.get("If-Match") for request in server.requests] == [OURS, None]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_folder_and_an_address_pass_it_on(case: Case, http: NewStore) -> None:
    async with FaultServer({f"x/{KEY}": BODY}, {f"x/{KEY}": case.faults}) as server:
        base = http().at(server.url)
        for store in (PrefixStore(base, "x/"), AbsoluteStore(PrefixStore(base, "x/"), allow_hosts=[])):
            server.objects[f"x/{KEY}"] = BODY
            server.requests.clear()
            check(await got(store, case.etag, case.byte_range), case)
    async with FaultServer({KEY: BODY}, {KEY: case.faults}) as server:
        absolute = AbsoluteStore(MemoryStore(), allow_hosts=["127.0.0.1"], http=http())
        try:
            whole = await RetryingStore(absolute, QUICK).get(
                server.url + KEY, case.byte_range, SampleRef(index=0, key=KEY, etag=case.etag)
            )
            check(whole, case)
        except ObjectChangedError as exc:
            check(exc, case)
        finally:
            await absolute.aclose()


async def test_a_store_without_versions_is_asked_as_before() -> None:
    memory = MemoryStore({"x/" + KEY: BODY})
    assert not isinstance(memory, VersionedStore)
    for store in (PrefixStore(memory, "x/"), AbsoluteStore(PrefixStore(memory, "x/"), allow_hosts=[])):
        assert await got(store, OTHER) == BODY
        assert await got(store, OTHER, (1, 4)) == BODY[1:4]


@pytest.mark.fault(row=15, stores=("http",))
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_an_object_replaced_after_the_listing_names_its_sample(*, use_multiprocessing: bool) -> None:
    bodies = {f"{number}.bin": bytes([number]) * 4 for number in range(20)}
    lines = [json.dumps({"key": key, "size": 4, "etag": etag_of(body)}) for key, body in bodies.items()]
    index = "\n".join(lines).encode()
    with serving(FaultServer(bodies | {"index.jsonl": index})) as server:
        data = al.image_folder(server.url, extensions=".bin", label_mode=None)
        assert data[7].etag == etag_of(bodies[data[7].key])
        options: dict[str, Any] = {"batch_size": 5, "workers": 2, "shuffle": False}
        with al.Loader(data, decode=_sum, use_multiprocessing=use_multiprocessing, **options) as loader:
            assert sum(len(batch[0]) for batch in loader) == 20
            server.objects[data[7].key] = b"else"
            with pytest.raises(ObjectChangedError, match="another one by now") as caught:
                list(loader)
            assert caught.value.sample_id == 7


def _sum(data: bytes) -> Any:
    return np.array([sum(data)])


def test_a_manifests_etag_is_the_samples() -> None:
    with serving(FaultServer({"rows.csv": b'key,etag\na.bin,"""x"""\nb.bin,y\nc.bin,\n'})) as server:
        data = al.manifest(server.url + "rows.csv", label=None)
    assert [sample.etag for sample in data] == ['"x"', "y", None]
