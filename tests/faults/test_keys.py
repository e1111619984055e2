"""Rows 36 and 38: a key's object is that key's, whatever the key; who is named twice comes twice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.errors import StoreError
from aioloader.testing import FaultServer
from aioloader.testing.faults import random_faults
from tests.faults.drill import CLOUDS, HTTP, QUICK, S3, Via, below, bodies, check_exact, loader_of, serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aioloader.types import Store
    from tests.reliability import Seen
    from tests.s3_services import Service

ALPHABET = "ab0 %/#?&+=;:@'\"()[]{}~^|\\,$!*.-_äß🐈é\u0301\u200b<>`"
PIECES = ("%2F", "%20", "%25", "%00", "..a", "a..", "é", "e\u0301", "+", " ", "?x=1", "#f", "%", "%zz", "\\", "&amp;")


def odd_keys(seed: int, count: int) -> list[str]:
    """Distinct keys of odd characters; none with an empty, ``.`` or ``..`` segment, which few stores carry."""
    draw = random.Random(seed)
    found: set[str] = set()
    while len(found) < count:
        key = "".join(
            draw.choice(PIECES) if draw.random() < 0.3 else draw.choice(ALPHABET) for _ in range(draw.randint(1, 24))
        )
        names = key.split("/")
        if not {"", ".", ".."} & set(names) and not key.startswith(" ") and not key.endswith(" "):
            found.add(key)
    return sorted(found)


def objects_of(keys: list[str]) -> dict[str, bytes]:
    """Each key's body tells which one it is."""
    return {key: index.to_bytes(4, "big") for index, key in enumerate(keys)}


def no_file_is_a_folder(keys: list[str]) -> list[str]:
    """What a disk can hold at once."""
    folders = {"/".join(key.split("/")[:depth]) for key in keys for depth in range(1, key.count("/") + 1)}
    return [key for key in keys if key not in folders]


@pytest.mark.parametrize(
    "via",
    [
        pytest.param(via, marks=pytest.mark.fault(row=36, stores=(via.store,)), id=str(via))
        for via in (*HTTP, *S3, *CLOUDS)
    ],
)
def test_each_odd_key_gives_its_own_object(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = objects_of(odd_keys(fault_seed, 300))
    stored = below(via.prefix, objects)
    faults = random_faults(stored, ("cut", "status"), share=0.1, seed=fault_seed, most=1)
    with (
        serving(FaultServer(stored, faults)) as server,
        loader_of(via.at(server.url), objects, seed=fault_seed) as loader,
    ):
        check_exact(loader, objects)
        assert set(server.requests) == set(stored)
    seen.exact(len(objects))


@pytest.mark.fault(row=36, stores=("local",))
def test_each_odd_file_is_read(fault_seed: int, seen: Seen, tmp_path: Path) -> None:
    objects = objects_of(no_file_is_a_folder(odd_keys(fault_seed, 300)))
    for key, body in objects.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    with loader_of(al.LocalStore().at(tmp_path), objects, seed=fault_seed) as loader:
        check_exact(loader, objects)
    seen.exact(len(objects))


@pytest.mark.fault(row=36, stores=("s3",))
def test_each_odd_key_gives_its_own_object_from_moto(moto: Service, fault_seed: int, seen: Seen) -> None:
    objects = objects_of(odd_keys(fault_seed, 60))
    bucket = moto.new_bucket({"p ü/" + key: body for key, body in objects.items()})
    with loader_of(moto.store().at(f"s3://{bucket}/p ü/"), objects, seed=fault_seed) as loader:
        check_exact(loader, objects)
    seen.exact(len(objects))


@pytest.mark.nginx
@pytest.mark.fault(row=36, stores=("http",))
@pytest.mark.parametrize("via", HTTP, ids=str)
def test_each_odd_key_gives_its_own_object_from_nginx(via: Via, nginx_server: Any, fault_seed: int, seen: Seen) -> None:
    # Of the path nginx makes one file name: it joins slashes and forgets nothing else.
    objects = objects_of(no_file_is_a_folder(odd_keys(fault_seed, 150)))
    url = nginx_server.publish(objects)
    store = al.HTTPStore(transport=via.transport).at(url)
    with loader_of(store, objects, seed=fault_seed) as loader:
        check_exact(loader, objects)
    seen.exact(len(objects))


BAD = ("", "..", "a/../b", "./a", "a/.", "a\nb", "a\x00", "a\x7f", "half \ud800", "x" * 5000)


@pytest.mark.fault(row=36, stores=("http", "s3"))
@pytest.mark.parametrize("via", [*HTTP, *S3], ids=str)
async def test_a_key_that_cannot_be_asked_for_is_named_and_no_other_object_comes(via: Via, seen: Seen) -> None:
    async with FaultServer(below(via.prefix, {"a": b"other", "b": b"other"})) as server:
        store: Store = via.at(server.url)
        for key in BAD:
            with pytest.raises(StoreError) as caught:
                await store.get(key)
            seen.error(caught.value)
        await store.aclose()


def ranged(keys: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Two rows of each key: its first and its second half."""
    half = 2
    return [{"key": key, "offset": offset, "length": half} for key in keys for offset in (0, half)]


@pytest.mark.parametrize(
    "via",
    [pytest.param(via, marks=pytest.mark.fault(row=38, stores=(via.store,)), id=str(via)) for via in (*HTTP, *S3)],
)
def test_an_object_of_many_samples_gives_each_its_own_bytes(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 40, sizes=(0,))
    stored = below(via.prefix, objects)
    kinds = ("cut", "status", "reset", "wrong range", "short range")
    faults = random_faults(stored, kinds, share=0.3, seed=fault_seed, most=1)
    faults = {key: [fault for fault in some if fault.kind != "wrong range"] for key, some in faults.items()}
    rows = ranged(objects)
    with serving(FaultServer(stored, faults)) as server:
        data = al.from_samples(rows, store=via.at(server.url))
        with al.Loader(data, decode=lambda body: np.frombuffer(body, np.uint8), batch_size=8, retry=QUICK) as loader:
            came = {
                int(index): bytes(row)
                for batch in loader
                for index, row in zip(batch.sample_ids, batch[0], strict=True)
            }
    assert came == {index: objects[row["key"]][row["offset"] : row["offset"] + 2] for index, row in enumerate(rows)}
    seen.exact()


@pytest.mark.fault(row=38, stores=("http", "s3", "gcs", "azure", "local"))
def test_a_table_that_names_the_same_bytes_twice_is_refused(seen: Seen) -> None:
    with pytest.raises(Exception, match="twice") as caught:
        al.from_samples(["a.bin", "b.bin", "a.bin"], store=al.MemoryStore({}))
    seen.error(caught.value)
