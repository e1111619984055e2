"""One opening of a cache directory: entries read, written and removed below its descriptor."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from aioloader.storage.cache import content
from aioloader.storage.cache.content import blocks
from aioloader.storage.cache.entry import BadEntryError
from aioloader.storage.cache.files import OPEN_TO_READ, read_body, read_header
from aioloader.storage.cache.place import open_directory
from aioloader.storage.cache.room import Room
from aioloader.storage.cache.writer import CacheWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aioloader.storage.cache.entry import EntryName, Header
    from aioloader.storage.cache.room import Verdict
    from aioloader.storage.cache.writer import Entry

# What says nothing about the entry itself: it is not read now, and stays.
_NOT_ITS_FAULT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EINTR})


class ClosedError(Exception):
    """The directory was closed before the call."""


class CacheFolder:
    """Its methods block; any thread may call them until it is closed, and the last to return closes it."""

    def __init__(self, path: str, bound_bytes: int | None) -> None:
        """Make or open it, and sweep what killed processes left.

        Raises `OptionError` for a directory that cannot be a cache; OSError for what the system says.
        """
        self.path = path
        self.room: Room | None = None
        """None where it can only be read; ``read_only_because`` says why."""
        self.read_only_because: OSError | None = None
        self._writer: CacheWriter | None = None
        self._lock = threading.Lock()
        self._callers = 0
        self._is_closed = False
        self.descriptor, is_cache = open_directory(path)
        try:
            self._open_room(bound_bytes, is_cache=is_cache)
        except BaseException:
            os.close(self.descriptor)
            raise

    def _open_room(self, bound_bytes: int | None, *, is_cache: bool) -> None:
        try:
            with contextlib.ExitStack() as stack:
                room = Room(self.descriptor, bound_bytes)
                stack.callback(room.close)
                writer = CacheWriter(self.descriptor, room)
                stack.callback(writer.close)
                room.join()
                stack.pop_all()
        except OSError as exc:
            if not is_cache:
                raise
            self.read_only_because = exc
        else:
            self.room, self._writer = room, writer

    # -- one entry -----------------------------------------------------------------------------------------

    def read(self, name: EntryName) -> bytes | None:
        """The body under ``name``, checked; None where there is none or it cannot be read now.

        Raises `BadEntryError`, after the file was removed.
        """
        with self.open():
            try:
                descriptor = os.open(name.path, OPEN_TO_READ, dir_fd=self.descriptor)
            except FileNotFoundError:
                return None
            except OSError as exc:
                if exc.errno in _NOT_ITS_FAULT:
                    return None
                self._remove_bad(name.path, None)
                raise BadEntryError(f"it cannot be opened ({exc.strerror})") from exc
            try:
                return read_body(descriptor, name.digest)
            except BadEntryError:
                self._remove_bad(name.path, descriptor)
                raise
            except OSError as exc:
                if exc.errno in _NOT_ITS_FAULT:
                    return None
                self._remove_bad(name.path, descriptor)
                raise BadEntryError(f"it cannot be read ({exc.strerror})") from exc
            finally:
                os.close(descriptor)

    def write(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Put each body under its name, unless there is an entry already; what became of each.

        Raises OSError, with nothing left behind.
        """
        with self.open():
            room, writer = self._writable()
            if not room.read().is_counted:
                self.count(room)
            return writer.write(entries)

    def _writable(self) -> tuple[Room, CacheWriter]:
        if self.room is None or self._writer is None:
            assert self.read_only_because is not None
            raise self.read_only_because
        return self.room, self._writer

    def _remove_bad(self, path: str, descriptor: int | None) -> None:
        """Remove the file behind ``descriptor``, not what came in its place; without one, whatever is there."""
        with contextlib.suppress(OSError):
            found = None if descriptor is None else os.fstat(descriptor)
            if self.room is not None:
                self._remove(self.room, path, found)

    def _remove(self, room: Room, path: str, expected: os.stat_result | None) -> bool:
        with room.changing() as count:
            status = os.stat(path, dir_fd=self.descriptor, follow_symlinks=False)
            if expected is not None and (status.st_dev, status.st_ino) != (expected.st_dev, expected.st_ino):
                return False
            if stat.S_ISDIR(status.st_mode):
                return False
            os.unlink(path, dir_fd=self.descriptor)
            room.removed(count, status.st_size if stat.S_ISREG(status.st_mode) else 0)
            return True

    def remove(self, path: str) -> bool:
        """Remove the entry at ``path``, a link itself and never what it leads to. Raises OSError."""
        with self.open(), contextlib.suppress(FileNotFoundError):
            return self._remove(self._writable()[0], path, None)
        return False

    def remove_empty_folders(self) -> None:
        """Those of entries; a writer makes its own again."""
        with self.open():
            for folder in content.entry_folders(self.descriptor):
                with contextlib.suppress(OSError):
                    os.rmdir(folder, dir_fd=self.descriptor)

    def header(self, path: str) -> Header:
        """What the file at ``path`` says of itself. Raises `BadEntryError`, which leaves it there, and OSError."""
        with self._open_entry(path) as descriptor:
            return read_header(descriptor, content.digest_of(path))

    def check(self, path: str) -> None:
        """Read the entry at ``path``. Raises `BadEntryError`, which leaves it there, and OSError."""
        with self._open_entry(path) as descriptor:
            read_body(descriptor, content.digest_of(path))

    @contextlib.contextmanager
    def _open_entry(self, path: str) -> Iterator[int]:
        with self.open():
            try:
                descriptor = os.open(path, OPEN_TO_READ, dir_fd=self.descriptor)
            except OSError as exc:
                if exc.errno in (errno.ELOOP, errno.ENXIO):
                    raise BadEntryError("it is not a regular file") from exc
                raise
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    # -- all of them ---------------------------------------------------------------------------------------

    def count(self, room: Room) -> None:
        """Add up what is there, if nobody has and nobody does."""
        with room.counting() as is_mine:
            if not is_mine:
                return
            taken_bytes = entries = 0
            for path in content.entry_paths(self.descriptor):
                if self._is_closed:
                    return
                status = content.is_regular(self.descriptor, path)
                if status is not None:
                    taken_bytes += blocks(status.st_size)
                    entries += 1
            with room.changing() as count:
                count.is_counted, count.taken_bytes, count.entries = True, taken_bytes, entries

    # -- the end -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Keep it open for the block. Raises `ClosedError`."""
        with self._lock:
            if self._is_closed:
                raise ClosedError
            self._callers += 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._callers -= 1
            is_last = self._is_closed and not self._callers
        if is_last:
            self._close()

    def close(self) -> None:
        """Let go of it, once the last call that runs has returned. Idempotent."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            is_last = not was_closed and not self._callers
        if is_last:
            self._close()

    def _close(self) -> None:
        if self.room is not None and self._writer is not None:
            self._writer.close()
            self.room.close()
        os.close(self.descriptor)
