"""Row 15: an object is replaced between a cut and the request for its rest. Two versions never make one body."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.errors import ObjectChangedError, StoreError
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.testing import Fault, FaultServer
from tests.faults.drill import CLOUDS, HTTP, QUICK, S3, Via, below, bodies, loader_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability import Seen


def other(body: bytes) -> bytes:
    """What ``FaultServer`` puts in its place: each bit turned round."""
    return bytes(byte ^ 0xFF for byte in body)


def runs() -> list[Any]:
    """Who looks at If-Match and who does not, by each kind of ETag, through each store."""
    return [
        pytest.param(via, kind, etags, marks=pytest.mark.fault(row=15, stores=(via.store,)), id=f"{kind}-{etags}-{via}")
        for via in (*HTTP, *S3, *CLOUDS)
        for kind in ("changed", "ignored etag")
        for etags in ("strong", "weak", "none")
        if etags != "none" or via not in CLOUDS  # which always give one: obstore demands it
    ]


@pytest.mark.parametrize(("via", "kind", "etags"), runs())
async def test_a_body_is_of_one_version(via: Via, kind: str, etags: str, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 24, sizes=(5000, 50_000))
    stored = below(via.prefix, objects)
    faults = {
        key: [Fault(kind="cut", at_bytes=len(body) * place // len(stored)), Fault(kind=kind)]
        for place, (key, body) in enumerate(stored.items())
    }
    async with FaultServer(stored, faults, etags=etags) as server:
        store = RetryingStore(via.at(server.url), QUICK)
        found = await asyncio.gather(*map(store.get, objects), return_exceptions=True)
        await store.aclose()
    for body, (key, old) in zip(found, objects.items(), strict=True):
        if isinstance(body, StoreError):
            assert etags == "strong"
            assert isinstance(body, ObjectChangedError)
            assert body.key.endswith(key)
            seen.error(body)
        else:
            assert body in (old, other(old))
            seen.exact()


@pytest.mark.fault(row=15, stores=("local",))
def test_a_file_that_is_replaced_is_read_whole(tmp_path: Path, fault_seed: int, seen: Seen) -> None:
    # Replaced by rename, as programs should: whoever reads has the old file or the new one.
    draw = random.Random(fault_seed)
    versions = [bodies(fault_seed, 40, sizes=(50_000,)), bodies(fault_seed + 1, 40, sizes=(50_000,))]
    for key, body in versions[0].items():
        (tmp_path / key).write_bytes(body)
    ended = threading.Event()

    def replace() -> None:
        while not ended.is_set():
            key = draw.choice(sorted(versions[0]))
            (tmp_path / "new").write_bytes(draw.choice(versions)[key])
            (tmp_path / "new").rename(tmp_path / key)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        with loader_of(al.LocalStore().at(tmp_path), versions[0], workers=2) as loader:
            rows = {int(row[0]): int(row[1]) for batch in loader for row in batch[0]}
    finally:
        ended.set()
        thread.join()
    assert sorted(rows) == list(range(40))
    for index, key in enumerate(versions[0]):
        assert rows[index] in [sum(version[key]) for version in versions]
    seen.exact()
