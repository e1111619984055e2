"""One entry of the cache as bytes: how it is named, what stands before the body, how it is checked. Without I/O."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aioloader.redact import redact_url
from aioloader.storage.stable_key import stable_key

if TYPE_CHECKING:
    from aioloader.types import ByteRange

_LAYOUT: Final = 1
_MAGIC: Final = b"aioldr\r\n"  # a transfer as text would change it
_UNVERSIONED: Final = 1
# Magic, layout, flags, CRC-32 of the body, identity, length of the body; then the CRC-32 of these.
_FACTS: Final = struct.Struct("<8sHHI32sQ")
_CHECK: Final = struct.Struct("<I")
HEADER_BYTES: Final = _FACTS.size + _CHECK.size


class BadEntryError(Exception):
    """An entry is not what was written under its name; the message says how it shows."""


@dataclass(frozen=True, slots=True)
class EntryName:
    """What an entry is known by: a digest, and whether it covers an ETag or a size."""

    digest: bytes
    is_versioned: bool

    @property
    def folders(self) -> tuple[str, str]:
        """The two folders above the file."""
        text = self.digest.hex()
        return text[0], text[1]

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.digest.hex()

    @property
    def path(self) -> str:
        """Relative to the cache's directory."""
        text = self.digest.hex()
        return f"{text[0]}/{text[1]}/{text}"


def name_entry(
    origin: str, location: str, key: str, byte_range: ByteRange | None, size_bytes: int | None, etag: str | None
) -> EntryName:
    """The name for a part of an object, as it was listed: another ETag or size, another entry.

    Nothing of it can be read from the name, and neither user info nor signatures count: a URL that is signed anew
    is the same object.
    """
    if "://" in key:
        address, question, query = stable_key(key).partition("?")
        url = f"{location}\0{redact_url(address)}{question}{query}"
    else:
        url = location + key
    facts = json.dumps([_LAYOUT, origin, url, byte_range, size_bytes, etag])  # surrogates become ASCII
    return EntryName(hashlib.sha256(facts.encode()).digest(), size_bytes is not None or bool(etag))


def header_of(name: EntryName, body: bytes) -> bytes:
    """What is written before ``body``."""
    flags = 0 if name.is_versioned else _UNVERSIONED
    facts = _FACTS.pack(_MAGIC, _LAYOUT, flags, zlib.crc32(body), name.digest, len(body))
    return facts + _CHECK.pack(zlib.crc32(facts))


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    body_bytes: int
    body_crc: int
    is_versioned: bool

    def check_body(self, body: bytes) -> None:
        """Raise `BadEntryError` where it is not the one that was written."""
        if zlib.crc32(body) != self.body_crc:
            raise BadEntryError("its bytes have another checksum")


def checked_header(header: bytes, digest: bytes, file_bytes: int) -> Header:
    """The first `HEADER_BYTES` of a file of ``file_bytes`` that is named ``digest``. Raises `BadEntryError`."""
    facts = header[: _FACTS.size]
    if len(header) != HEADER_BYTES:
        raise BadEntryError(f"it has {file_bytes} bytes, less than a header")
    if _CHECK.unpack(header[_FACTS.size :])[0] != zlib.crc32(facts):
        raise BadEntryError("its header has another checksum")
    magic, layout, flags, body_crc, found, body_bytes = _FACTS.unpack(facts)
    if magic != _MAGIC or layout != _LAYOUT:
        raise BadEntryError("it is of another layout")
    if found != digest:
        raise BadEntryError("it is another object's")
    if body_bytes != file_bytes - HEADER_BYTES:
        raise BadEntryError(f"it has {file_bytes - HEADER_BYTES} of {body_bytes} bytes")
    return Header(body_bytes, body_crc, not flags & _UNVERSIONED)
