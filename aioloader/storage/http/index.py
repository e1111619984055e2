"""``index.jsonl``: a line is ``{"key": ..., "size": ..., "etag": ...}``; the last two are optional."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aioloader.errors import ManifestError
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INDEX_KEY: Final = "index.jsonl"
MAX_LINE_BYTES: Final = 65536
_LINES_A_TURN: Final = 1000


async def parse_index(body: bytes, shown: str) -> AsyncIterator[ObjectMeta]:
    """The index's entries in its order; empty lines are left out.

    Raises `ManifestError` with the line's number for a line that is no entry, a key that leaves the root, and
    a key that an earlier line had.
    """
    seen: dict[str, int] = {}
    start, number = 0, 0
    while start < len(body):
        number += 1
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        line, start = body[start:end].strip(), end + 1
        if number % _LINES_A_TURN == 0:
            await asyncio.sleep(0)  # a million lines take seconds: let other transfers go on
        if not line:
            continue
        meta = _parse_line(line, f"{shown} line {number}")
        if meta.key in seen:
            raise ManifestError(
                f"{shown} line {number}: the key {meta.key[:200]!r} is on line {seen[meta.key]} already; "
                "keep one of them"
            )
        seen[meta.key] = number
        yield meta


def _parse_line(line: bytes, where: str) -> ObjectMeta:
    if len(line) > MAX_LINE_BYTES:
        raise ManifestError(f"{where} has {len(line)} bytes; at most {MAX_LINE_BYTES} make an entry")
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ManifestError(f"{where} is not JSON: expected {{'key': ..., 'size': ...}}") from exc
    if not isinstance(entry, dict):
        raise ManifestError(f"{where} holds a {type(entry).__name__}; expected {{'key': ..., 'size': ...}}")
    key, size, etag = entry.get("key"), entry.get("size"), entry.get("etag")
    if not isinstance(key, str) or not key:
        raise ManifestError(f"{where} has no key: expected {{'key': 'a/b.jpg', 'size': ...}}")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise ManifestError(f"{where}: the key {key[:200]!r} has a '.' or '..' segment; keys stay in the root")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise ManifestError(f"{where}: the size {str(size)[:40]!r} is not a number of bytes")
    if etag is not None and not isinstance(etag, str):
        raise ManifestError(f"{where}: the etag is a {type(etag).__name__}; expected text")
    return ObjectMeta(key=key, size_bytes=size, etag=etag)
