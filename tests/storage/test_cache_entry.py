"""How an entry of the cache is named, and that no damage to one goes unseen."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.storage.cache.entry import (
    HEADER_BYTES,
    BadEntryError,
    EntryName,
    checked_header,
    header_of,
    name_entry,
)

ORIGIN, LOCATION = "https://host:443", "https://host/train/"


def name(
    key: str = "a.jpg",
    *,
    origin: str = ORIGIN,
    location: str = LOCATION,
    byte_range: tuple[int, int] | None = None,
    size_bytes: int | None = None,
    etag: str | None = None,
) -> EntryName:
    return name_entry(origin, location, key, byte_range, size_bytes, etag)


def test_whatever_tells_two_objects_apart_tells_their_entries_apart() -> None:
    names = [
        name(),
        name("b.jpg"),
        name(origin="https://other:443"),
        name(location="https://host/val/"),
        name(byte_range=(0, 10)),
        name(byte_range=(0, 11)),
        name(size_bytes=10),
        name(size_bytes=11),
        name(etag='"1"'),
        name(etag='"2"'),
        name(etag='"1"', size_bytes=10),
        name("http://host/a.jpg"),
        name("http://host/a.jpg", location="https://elsewhere/"),
        name("http://host/a.jpg?version=2"),
    ]
    for one, other in itertools.combinations(names, 2):
        assert one.digest != other.digest


def test_a_folder_of_a_store_names_an_object_as_the_store_does() -> None:
    assert name("b/a.jpg") == name("a.jpg", location=LOCATION + "b/")


def test_a_url_that_is_signed_anew_is_the_same_object() -> None:
    first = name("https://bob:secret@host/a.jpg?v=2&X-Amz-Signature=one&X-Amz-Date=20260101")
    assert first == name("https://eve:other@host/a.jpg?v=2&X-Amz-Signature=two&X-Amz-Date=20270101")
    assert first != name("https://host/a.jpg?v=3&X-Amz-Signature=two")


@pytest.mark.parametrize(("listed", "is_versioned"), [({}, False), ({"size_bytes": 0}, True), ({"etag": '"1"'}, True)])
def test_an_entry_knows_whether_a_change_would_be_seen(listed: dict[str, object], *, is_versioned: bool) -> None:
    assert name(**listed).is_versioned is is_versioned  # type: ignore[arg-type]  # one of two keywords
    body = b"body"
    named = name(**listed)  # type: ignore[arg-type]  # one of two keywords
    entry = header_of(named, body) + body
    assert checked_header(entry[:HEADER_BYTES], named.digest, len(entry)).is_versioned is is_versioned


@given(key=st.text(max_size=60))
def test_no_key_can_be_a_path(key: str) -> None:
    assert re.fullmatch(r"[0-9a-f]/[0-9a-f]/[0-9a-f]{64}", name(key).path)


@pytest.mark.parametrize("key", ["../../x", "/etc/passwd", "a\0b", "\udcff", "a" * 5000, ""])
def test_no_hostile_key_can_be_a_path(key: str) -> None:
    assert re.fullmatch(r"[0-9a-f]/[0-9a-f]/[0-9a-f]{64}", name(key).path)


def check(entry: bytes, digest: bytes) -> bytes:
    header = checked_header(entry[:HEADER_BYTES], digest, len(entry))
    body = entry[HEADER_BYTES:]
    header.check_body(body)
    return body


@given(body=st.binary(max_size=300))
def test_what_was_written_is_what_is_read(body: bytes) -> None:
    assert check(header_of(name(), body) + body, name().digest) == body


@given(body=st.binary(max_size=100), data=st.data())
def test_no_flipped_bit_goes_unseen(body: bytes, data: st.DataObject) -> None:
    entry = bytearray(header_of(name(), body) + body)
    place = data.draw(st.integers(0, len(entry) - 1))
    entry[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadEntryError):
        check(bytes(entry), name().digest)


def test_no_cut_goes_unseen() -> None:
    entry = header_of(name(), b"body") + b"body"
    for length in range(len(entry)):
        with pytest.raises(BadEntryError):
            check(entry[:length], name().digest)
    with pytest.raises(BadEntryError):
        check(entry + b"x", name().digest)


def test_another_objects_entry_is_not_this_ones() -> None:
    entry = header_of(name("b.jpg"), b"body") + b"body"
    with pytest.raises(BadEntryError, match="another object"):
        check(entry, name().digest)
