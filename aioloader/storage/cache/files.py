"""One file of the cache: read and checked, or written, by its descriptor."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from aioloader.storage.cache.entry import HEADER_BYTES, BadEntryError, checked_header
from aioloader.storage.cache.place import OTHERS_MAY_WRITE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.storage.cache.entry import Header

OPEN_TO_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would wait for its writer
OPEN_TO_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_header(descriptor: int, digest: bytes) -> Header:
    """What the file says of itself. Raises `BadEntryError`, OSError."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BadEntryError("it is not a regular file")
    if status.st_uid != os.geteuid() or status.st_mode & OTHERS_MAY_WRITE:
        raise BadEntryError("others may have written it")
    return checked_header(os.pread(descriptor, HEADER_BYTES, 0), digest, status.st_size)


def read_body(descriptor: int, digest: bytes) -> bytes:
    """The body, checked. Raises `BadEntryError`, OSError."""
    header = read_header(descriptor, digest)
    body = os.pread(descriptor, header.body_bytes, HEADER_BYTES)
    while len(body) < header.body_bytes:  # Linux gives at most 2 GiB a call
        more = os.pread(descriptor, header.body_bytes - len(body), HEADER_BYTES + len(body))
        if not more:
            raise BadEntryError("it was cut while it was read")
        body += more
    header.check_body(body)
    return body


def write_all(descriptor: int, parts: Sequence[bytes]) -> None:
    """Write all of ``parts``. Raises OSError."""
    done = os.writev(descriptor, parts)
    if done < sum(map(len, parts)):
        rest = memoryview(b"".join(parts))[done:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
