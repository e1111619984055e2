"""Files below a folder."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from aioloader.errors import OptionError
from aioloader.runtime.brief_calls import BriefCalls
from aioloader.storage.freed_memory import keep_freed_memory
from aioloader.storage.local.files import file_size, read_file, walk
from aioloader.storage.local.keys import path_of_key
from aioloader.storage.per_loop import PerLoop
from aioloader.storage.ranges import check_range

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aioloader.types import ByteRange, ObjectMeta

MAX_THREADS: Final = 128
"""Reads at once on one loop. A disk needs few; a network mount with 1 ms a read is what more are for."""

_ENTRIES_A_HOP: Final = 1000


class LocalStore:
    """Files below a folder: ``LocalStore().at("~/data/train")``, or ``at("file:///data/train")``.

    Keys are relative paths with ``/``; none leads out of the folder by itself, but symbolic links inside it
    are followed. Names that are not UTF-8 keep their bytes (``surrogateescape``).
    """

    def __init__(self) -> None:
        self._root: str | None = None
        self._location = ""
        self._reads: PerLoop[BriefCalls] = PerLoop()

    def at(self, path_or_file_url: str | os.PathLike[str]) -> LocalStore:
        """A store rooted at the folder; nothing is read yet. Raises `OptionError` for no local path."""
        bound = LocalStore()
        try:
            path = Path(_local_path(path_or_file_url)).expanduser().absolute()
        except RuntimeError as exc:  # "~name" of nobody
            raise OptionError("path", repr(os.fspath(path_or_file_url)), "a home folder that exists") from exc
        bound._root = os.fspath(path)
        url = path.as_uri()
        bound._location = url if url.endswith("/") else url + "/"
        return bound

    @property
    def location(self) -> str:
        """The folder as a ``file://`` address; ends with ``/``."""
        self._bound()
        return self._location

    @property
    def origin(self) -> str:
        """``file://``: all disks share limits."""
        return "file://"

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """The file's bytes, or those of the half-open ``byte_range``, cut at the end.

        Cancelling abandons the read, which ends unheard in its thread. Raises `StoreError`.
        """
        if byte_range is not None:
            check_range(byte_range)
        path = path_of_key(self._bound(), key, self._location)
        return await self._on_loop().run(read_file, path, byte_range, self._location, key)

    def read_now(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """`get` without a loop: in the caller's thread, which waits for the disk."""
        keep_freed_memory()  # of one body after another: 16 page faults each, 1,100 instead of 950 µs a JPEG
        if byte_range is not None:
            check_range(byte_range)
        return read_file(path_of_key(self._bound(), key, self._location), byte_range, self._location, key)

    async def size(self, key: str) -> int:
        """Length of the file in bytes. Raises `StoreError`."""
        path = path_of_key(self._bound(), key, self._location)
        return await self._on_loop().threads.run(file_size, path, self._location, key)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """Every file whose key starts with ``prefix``: sizes, and an ETag of change time and size.

        Raises `ObjectNotFoundError` where the folder itself is missing, `AccessDeniedError` for one that may
        not be read. A link back to one of its own parents is not followed again.
        """
        entries = walk(self._bound(), self._location, prefix)
        while chunk := await self._on_loop().threads.run(_take, entries):
            for meta in chunk:
                yield meta

    async def aclose(self) -> None:
        """End the running loop's threads; idempotent."""
        reads = self._reads.take()
        if reads is not None:
            reads.close()

    def _bound(self) -> str:
        if self._root is None:
            raise OptionError("store", "LocalStore()", "a place too: LocalStore().at('/data/train')")
        return self._root

    def _on_loop(self) -> BriefCalls:
        return self._reads.get(lambda: BriefCalls("aioloader-file", MAX_THREADS))

    def __repr__(self) -> str:
        return f"LocalStore().at({self._root!r})" if self._root is not None else "LocalStore()"


def _take(entries: Iterator[ObjectMeta]) -> list[ObjectMeta]:
    return list(islice(entries, _ENTRIES_A_HOP))


def _local_path(path_or_file_url: str | os.PathLike[str]) -> str:
    path = os.fspath(path_or_file_url)
    expected = "a folder such as '/data/train' or 'file:///data/train'"
    if not path or "\0" in path:
        raise OptionError("path", repr(path), expected)
    if path[:5].lower() != "file:":
        return path
    parts = urlsplit(path)
    here = parts.netloc in ("", "localhost") and parts.path.startswith("/")
    if not here or parts.query or parts.fragment:
        raise OptionError("path", repr(path), expected + ", with ? and # escaped")
    return unquote(parts.path, errors="surrogateescape")
