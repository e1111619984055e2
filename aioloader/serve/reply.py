"""What the bucket answers, decided in one go by a function that reads files and knows no loop or socket."""

from __future__ import annotations

import email.utils
import mimetypes
from dataclasses import dataclass
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import quote

from aioloader.serve.folder import FolderTree, StoredFile, StoredFolder
from aioloader.serve.pace import CHUNK_BYTES
from aioloader.serve.ranges import (
    UnsatisfiableRangeError,
    if_match_holds,
    if_none_match_holds,
    if_range_holds,
    parse_range,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioloader.types import ByteRange


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes of a file that are too many to read at once; ``byte_range`` is half-open."""

    file: StoredFile
    byte_range: ByteRange


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: ``length_bytes`` is announced, also where no body follows (HEAD)."""

    status: int
    headers: Mapping[str, str]
    body: bytes | FileSlice
    length_bytes: int


def say(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A sentence as plain text."""
    text = f"{status} {responses.get(status, 'Refused')}: {reason}\n".encode()
    return _of_bytes(status, {**(headers or {}), "Content-Type": "text/plain; charset=utf-8"}, text)


def reply(tree: FolderTree, method: str, key: str, headers: Mapping[str, str]) -> Reply:
    """The answer to ``method`` for ``key``; ``headers`` are the request's, looked up without regard to case.

    Blocks while it reads listings and files of up to ``CHUNK_BYTES``: they are read in the one hop to a thread that
    looking them up needs anyway, as buckets of samples are made of small files. Raises `FileChangedError` where a
    file changes meanwhile.
    """
    if method not in ("GET", "HEAD"):
        return say(405, "this bucket is read-only", {"Allow": "GET, HEAD"})
    try:
        found = tree.look_up(key)
        if isinstance(found, StoredFile):
            return _of_file(found, method, headers)
        if isinstance(found, StoredFolder):
            if key and not key.endswith("/"):
                # Relative, so that it holds behind any name of this machine.
                location = f"./{quote(key.rpartition('/')[2])}/"
                return say(301, "a folder's URL ends in /", {"Location": location})
            return _of_bytes(200, {"Content-Type": "text/html; charset=utf-8"}, tree.page(found))
        lines = tree.index(key)
        if lines is not None:
            return _of_bytes(200, {"Content-Type": "application/jsonl"}, lines)
    except PermissionError:
        return say(403, "the server may not read this")
    except FileNotFoundError:  # deleted since it was looked up
        pass
    return say(404, "no such file")


def _of_bytes(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    return Reply(status, headers, body, len(body))


def _of_file(file: StoredFile, method: str, request_headers: Mapping[str, str]) -> Reply:
    # In the order of RFC 9110, section 13.2.2.
    headers = {
        "ETag": file.etag,
        "Last-Modified": email.utils.formatdate(file.modified_s, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if not if_match_holds(request_headers.get("If-Match"), file.etag):
        return say(412, "the file has another ETag", headers)
    if not if_none_match_holds(request_headers.get("If-None-Match"), file.etag):
        return _of_bytes(304, headers, b"")
    start, stop, status = 0, file.size_bytes, 200
    # Range has a meaning for GET only.
    if method == "GET" and if_range_holds(request_headers.get("If-Range"), file.etag):
        try:
            byte_range = parse_range(request_headers.get("Range"), file.size_bytes)
        except UnsatisfiableRangeError:
            headers["Content-Range"] = f"bytes */{file.size_bytes}"
            return say(416, "the range begins after the end of the file", headers)
        if byte_range is not None:
            (start, stop), status = byte_range, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size_bytes}"
    headers["Content-Type"] = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
    length = stop - start
    if method == "HEAD":
        return Reply(status, headers, b"", length)
    # A large one is tried too, with no byte: to learn that it may not be read.
    body = file.read(start, stop if length <= CHUNK_BYTES else start)
    return Reply(status, headers, body if length <= CHUNK_BYTES else FileSlice(file, (start, stop)), length)
