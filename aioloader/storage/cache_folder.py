"""One opening of a cache directory: entries read, written and removed below its descriptor."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import threading
from typing import TYPE_CHECKING, Final

from aioloader.storage import cache_content as content
from aioloader.storage.cache_content import FOLDER_BYTES, OPEN_FOLDER, TEMPORARY_FOLDER, blocks
from aioloader.storage.cache_entry import BadEntryError, header_of
from aioloader.storage.cache_files import OPEN_TO_READ, OPEN_TO_WRITE, read_body, read_header, write_all
from aioloader.storage.cache_place import open_directory
from aioloader.storage.cache_room import Room, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.storage.cache_entry import EntryName, Header

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
            room = Room(self.descriptor, bound_bytes)
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(TEMPORARY_FOLDER, 0o700, dir_fd=self.descriptor)
                for temporary in content.temporaries(self.descriptor):
                    self._sweep(room, temporary)
                room.join()
            except BaseException:
                room.close()
                raise
        except OSError as exc:
            if not is_cache:
                raise
            self.read_only_because = exc
        else:
            self.room = room

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

    def write(self, name: EntryName, body: bytes) -> Verdict:
        """Put ``body`` under ``name``, unless there is an entry already; whether there was room.

        Raises OSError, with nothing left behind.
        """
        with self.open():
            if self.room is None:
                assert self.read_only_because is not None
                raise self.read_only_because
            header = header_of(name, body)
            taken_bytes = blocks(len(header) + len(body))
            verdict = self.room.take(taken_bytes)
            if verdict is Verdict.UNCOUNTED:
                self.count(self.room)
                verdict = self.room.take(taken_bytes)
            if verdict is Verdict.TAKEN and not self._write(self.room, name, taken_bytes, (header, body)):
                return Verdict.THERE
            return verdict

    def _write(self, room: Room, name: EntryName, taken_bytes: int, parts: tuple[bytes, bytes]) -> bool:
        temporary = content.temporary_path(secrets.token_hex(8), taken_bytes)
        descriptor = None
        try:
            with room.changing():  # nobody sweeps between the two lines
                descriptor = os.open(temporary, OPEN_TO_WRITE, 0o600, dir_fd=self.descriptor)
                # Whoever can lock a temporary file knows that its writer is dead.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_all(descriptor, parts)
            return self._publish(room, temporary, name, taken_bytes)
        except BaseException:
            with contextlib.suppress(OSError), room.changing() as count:
                if descriptor is not None:
                    os.unlink(temporary, dir_fd=self.descriptor)  # raises where it was swept, and so given back
                count.taken_bytes -= taken_bytes
                count.pending -= 1
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _publish(self, room: Room, temporary: str, name: EntryName, taken_bytes: int) -> bool:
        """Give the file its name; False where another process was as quick."""
        folder = self._make_folders(room, name.folders)
        try:
            with room.changing() as count:
                is_new = not _is_there(name.file, folder)
                if not is_new:
                    os.unlink(temporary, dir_fd=self.descriptor)
                    count.taken_bytes -= taken_bytes
                else:
                    os.rename(temporary, name.file, src_dir_fd=self.descriptor, dst_dir_fd=folder)
                    count.entries += 1
                count.pending -= 1
            return is_new
        finally:
            os.close(folder)

    def _make_folders(self, room: Room, names: tuple[str, str]) -> int:
        """A descriptor of the folder; no link is followed on the way."""
        above = os.dup(self.descriptor)
        for name in names:
            try:
                try:
                    folder = os.open(name, OPEN_FOLDER, dir_fd=above)
                except FileNotFoundError:
                    _make_folder(room, name, above)
                    folder = os.open(name, OPEN_FOLDER, dir_fd=above)
            finally:
                os.close(above)
            above = folder
        return above

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
            if self.room is None:
                assert self.read_only_because is not None
                raise self.read_only_because
            return self._remove(self.room, path, None)
        return False

    def remove_empty_folders(self) -> None:
        """Those of entries. Raises OSError."""
        with self.open():
            assert self.room is not None  # entries were removed
            for folder in content.entry_folders(self.descriptor):
                with self.room.changing() as count, contextlib.suppress(OSError):
                    os.rmdir(folder, dir_fd=self.descriptor)
                    count.taken_bytes = max(count.taken_bytes - FOLDER_BYTES, 0)

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
            taken_bytes, entries = FOLDER_BYTES * sum(1 for _ in content.entry_folders(self.descriptor)), 0
            for path in content.entry_paths(self.descriptor):
                if self._is_closed:
                    return
                status = content.is_regular(self.descriptor, path)
                if status is not None:
                    taken_bytes += blocks(status.st_size)
                    entries += 1
            with room.changing() as count:
                count.is_counted, count.taken_bytes, count.entries = True, taken_bytes, entries

    def _sweep(self, room: Room, temporary: str) -> None:
        """Remove a temporary file whose writer is dead, and give back what it had taken."""
        try:
            descriptor = os.open(temporary, OPEN_TO_READ, dir_fd=self.descriptor)
        except FileNotFoundError:
            return
        try:
            with room.changing() as count:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(temporary, dir_fd=self.descriptor)
                if count.is_counted and count.pending:
                    count.taken_bytes = max(count.taken_bytes - content.taken_for(temporary), 0)
                    count.pending -= 1
        except (BlockingIOError, FileNotFoundError):  # it is being written, or was published
            return
        finally:
            os.close(descriptor)

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
        if self.room is not None:
            self.room.close()
        os.close(self.descriptor)


def _make_folder(room: Room, name: str, above: int) -> None:
    with room.changing() as count:
        count.taken_bytes += FOLDER_BYTES  # first: one that dies here has taken too much, not too little
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except OSError as exc:
        with room.changing() as count:
            count.taken_bytes -= FOLDER_BYTES
        if not isinstance(exc, FileExistsError):
            raise


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
