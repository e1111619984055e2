"""The calls that block: reading a file, its size, the walk over a tree. They run in threads."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from aioloader.errors import (
    AccessDeniedError,
    ConnectFailedError,
    ObjectNotFoundError,
    ServerFailedError,
    StoreError,
    TruncatedBodyError,
)
from aioloader.redact import printable_key
from aioloader.storage.ranges import cut_range
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.types import ByteRange


def translate(exc: OSError, shown: str, byte_range: ByteRange | None = None, *, listing: bool = False) -> StoreError:
    """Our error for what the system said, while a file was read or a folder listed."""
    words = os.strerror(exc.errno) if exc.errno is not None else str(exc)
    kind: type[StoreError] = ServerFailedError
    hint = "Check the disk or mount."
    match exc.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR | errno.ELOOP | errno.ENAMETOOLONG:
            kind = ObjectNotFoundError
            hint = "Check the path." if listing else "Check the path, or list the dataset again."
        case errno.EACCES | errno.EPERM:
            kind, hint = AccessDeniedError, "Check the file's rights."
        case errno.EMFILE | errno.ENFILE:
            kind, hint = ConnectFailedError, "Raise `ulimit -n` or lower concurrency."
    error = kind(f"the system says {words!r}", shown, hint, byte_range, 1, "list" if listing else "fetch")
    error.__cause__ = exc
    return error


def read_file(path: str, byte_range: ByteRange | None, location: str, key: str) -> bytes:
    """The file, or a range of it cut at its end. Raises `StoreError`."""
    shown = location + printable_key(key)
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = _regular_size(os.fstat(descriptor), shown)
            start, stop = cut_range(byte_range, size, shown)
            return _pread_all(descriptor, start, stop, shown, byte_range)
        finally:
            os.close(descriptor)
    except StoreError:
        raise
    except OSError as exc:
        raise translate(exc, shown, byte_range) from exc


def _pread_all(descriptor: int, start: int, stop: int, shown: str, byte_range: ByteRange | None) -> bytes:
    body = os.pread(descriptor, stop - start, start)
    if len(body) == stop - start:
        return body
    parts = bytearray(body)  # Linux gives at most 2 GiB a call
    while len(parts) < stop - start:
        more = os.pread(descriptor, stop - start - len(parts), start + len(parts))
        if not more:
            raise TruncatedBodyError(
                f"the file ended after {start + len(parts)} of {stop} bytes: it shrank while it was read",
                shown,
                "Read it again once nobody writes it.",
                byte_range,
            )
        parts += more
    return bytes(parts)


def file_size(path: str, location: str, key: str) -> int:
    """Length of the file in bytes. Raises `StoreError`."""
    shown = location + printable_key(key)
    try:
        return _regular_size(Path(path).stat(), shown)
    except StoreError:
        raise
    except OSError as exc:
        raise translate(exc, shown) from exc


def _regular_size(status: os.stat_result, shown: str) -> int:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ObjectNotFoundError(f"this is {what}", shown, "Give the key of a file.")
    return status.st_size


def walk(root: str, location: str, prefix: str) -> Iterator[ObjectMeta]:
    """Every file below ``root`` whose key starts with ``prefix``, sorted within its folder.

    Symbolic links are followed, but not into a folder that the path already passed through. A link to nothing
    is listed, without a size: the sample then fails loudly. Raises `StoreError`.
    """
    # (key of the folder with its slash, identities of the folders passed on the way, itself not yet)
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        folder, passed = waiting.pop()
        path = f"{root.rstrip('/')}/{folder}"
        try:
            status = Path(path).stat()
            identity = (status.st_dev, status.st_ino)
            if identity in passed:
                continue
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
        except OSError as exc:
            raise translate(exc, location + printable_key(folder), listing=True) from exc
        below: list[tuple[str, frozenset[tuple[int, int]]]] = []
        for entry in entries:
            key = folder + entry.name
            if _is_folder(entry):
                if (key + "/").startswith(prefix) or prefix.startswith(key + "/"):
                    below.append((key + "/", passed | {identity}))
            elif key.startswith(prefix):
                meta = _meta_of(entry, key)
                if meta is not None:
                    yield meta
        waiting += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link in a circle, or to where we may not look: listed, and fails when read


def _meta_of(entry: os.DirEntry[str], key: str) -> ObjectMeta | None:
    try:
        status = entry.stat()
    except OSError:
        return ObjectMeta(key=key)
    if not stat.S_ISREG(status.st_mode):
        return None  # sockets, pipes and devices are not data
    return ObjectMeta(key=key, size_bytes=status.st_size, etag=f'"{status.st_mtime_ns:x}-{status.st_size:x}"')
