"""Objects in memory, shared by name."""

from __future__ import annotations

import pytest

from aioloader.errors import ObjectNotFoundError, OptionError
from aioloader.storage.memory import MemoryStore


async def test_stores_of_one_name_share_their_objects() -> None:
    MemoryStore.at("memory://test-shared/").put("train/cat/1.bin", b"1")
    below = MemoryStore.at("memory://test-shared/train")
    below.put("dog.bin", b"22")
    assert below.location == "memory://test-shared/train/"
    assert sorted([(meta.key, meta.size_bytes) async for meta in below.list()]) == [("cat/1.bin", 1), ("dog.bin", 2)]
    assert await MemoryStore.at("memory://test-shared").get("train/dog.bin") == b"22"
    assert [meta.key async for meta in MemoryStore.at("memory://test-other/").list()] == []


async def test_stores_without_a_name_share_nothing() -> None:
    objects = {"a": b"1"}
    one, other = MemoryStore(objects), MemoryStore()
    one.put("b", b"2")
    assert objects == {"a": b"1"}
    with pytest.raises(ObjectNotFoundError, match="no such object"):
        await other.get("b")


@pytest.mark.parametrize("url", ["", "memory:", "memory:///a", "memory://me:pw@name/", "http://name/", "memory://[/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="url=") as caught:
        MemoryStore.at(url)
    assert "pw" not in str(caught.value)
