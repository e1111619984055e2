"""Entries on their way into a cache directory, several at a time: temporary files first, then their names.

Each system call hands the interpreter's lock over and waits for it again beside decoders that hold it, so what can be
done for many entries at once is: five calls an entry instead of 24.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections import deque
from itertools import count as numbers
from typing import TYPE_CHECKING

from aioloader.storage.cache import content
from aioloader.storage.cache.content import OPEN_FOLDER, TEMPORARY_FOLDER, blocks
from aioloader.storage.cache.entry import header_of
from aioloader.storage.cache.files import OPEN_TO_READ, OPEN_TO_WRITE, write_all
from aioloader.storage.cache.room import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.storage.cache.entry import EntryName
    from aioloader.storage.cache.room import Room

Entry = tuple["EntryName", bytes]
_Written = tuple[int, str, "EntryName"]
"""An entry's place in its batch, its temporary path, its name."""


class CacheWriter:
    """Of one opening of a directory; it holds the lock that says its temporary files are not a dead process's."""

    def __init__(self, directory: int, room: Room) -> None:
        """Sweeps what dead ones left. Raises OSError."""
        self._directory = directory
        self._room = room
        self._numbers = numbers()
        self._sound_folders: set[str] = set()
        self._owed: deque[int] = deque()
        """Bytes of files that are gone, while the lock to give their room back could not be had."""
        self._owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(TEMPORARY_FOLDER, 0o700, dir_fd=directory)
        sweep(directory, room)
        with room.changing():  # nobody sweeps between the two lines
            self._lock = os.open(content.lock_path(self._owner), OPEN_TO_WRITE, 0o600, dir_fd=directory)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(self._lock)
                raise

    def write(self, entries: Sequence[Entry]) -> list[Verdict]:
        """What became of each; see `Verdict`. Raises OSError, with nothing left behind."""
        parts = [(name, header_of(name, body), body) for name, body in entries]
        sizes = [blocks(len(header) + len(body)) for _, header, body in parts]
        if self._owed:
            self._settle()
        verdicts = self._room.take(sizes)
        written: list[_Written] = []
        taken = [place for place, verdict in enumerate(verdicts) if verdict is Verdict.TAKEN]
        try:
            for place in taken:
                name, header, body = parts[place]
                self._make_folders(name.folders)
                temporary = content.temporary_path(self._owner, next(self._numbers), sizes[place])
                written.append((place, temporary, name))
                self._write_file(temporary, (header, body))
        except BaseException:
            self._give_up([sizes[place] for place in taken], [temporary for _, temporary, _ in written])
            raise
        homeless = self._publish(written, sizes, verdicts)
        if homeless:  # the cache was cleared meanwhile, with its folders
            self._publish_again(homeless, sizes, verdicts)
        return verdicts

    def _publish_again(self, homeless: list[_Written], sizes: Sequence[int], verdicts: list[Verdict]) -> None:
        self._sound_folders.clear()
        try:
            for _, _, name in homeless:
                self._make_folders(name.folders)
        except BaseException:
            self._give_up([sizes[place] for place, _, _ in homeless], [temporary for _, temporary, _ in homeless])
            raise
        homeless = self._publish(homeless, sizes, verdicts)
        if homeless:
            self._give_up([sizes[place] for place, _, _ in homeless], [temporary for _, temporary, _ in homeless])
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _write_file(self, temporary: str, parts: Sequence[bytes]) -> None:
        descriptor = os.open(temporary, OPEN_TO_WRITE, 0o600, dir_fd=self._directory)
        try:
            write_all(descriptor, parts)
        finally:
            os.close(descriptor)

    def _publish(self, written: Sequence[_Written], sizes: Sequence[int], verdicts: list[Verdict]) -> list[_Written]:
        """Give the files their names, but where there is an entry already. Returns those whose folder is gone."""
        homeless: list[_Written] = []
        failed: OSError | None = None
        if not written:
            return homeless
        with contextlib.ExitStack() as stack:
            try:
                count = stack.enter_context(self._room.changing())
            except BaseException:
                self._give_up([sizes[place] for place, _, _ in written], [temporary for _, temporary, _ in written])
                raise
            for one in written:
                place, temporary, name = one
                try:
                    if not _is_there(name.path, self._directory):
                        os.rename(temporary, name.path, src_dir_fd=self._directory, dst_dir_fd=self._directory)
                        count.entries += 1
                        count.pending -= 1
                        continue
                    verdicts[place] = Verdict.THERE
                except FileNotFoundError:
                    homeless.append(one)
                    continue
                except OSError as exc:
                    failed = exc
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=self._directory)
                count.taken_bytes -= sizes[place]
                count.pending -= 1
        if failed is not None:
            self._give_up([sizes[place] for place, _, _ in homeless], [temporary for _, temporary, _ in homeless])
            raise failed
        return homeless

    def _give_up(self, sizes: Sequence[int], temporaries: Sequence[str]) -> None:
        for temporary in temporaries:
            with contextlib.suppress(OSError):  # it was not made
                os.unlink(temporary, dir_fd=self._directory)
        self._owed.extend(sizes)
        with contextlib.suppress(OSError):
            self._settle()

    def _settle(self) -> None:
        """Give back the room of files that were given up. Raises OSError, and what is owed stays so."""
        with self._room.changing() as count:
            while self._owed:
                count.taken_bytes -= self._owed.popleft()
                count.pending -= 1

    def _make_folders(self, names: tuple[str, str]) -> None:
        """Make what is not there, once; no link is followed on the way."""
        path = "/".join(names)
        if path in self._sound_folders:
            return
        above = os.dup(self._directory)
        try:
            for name in names:
                try:
                    folder = os.open(name, OPEN_FOLDER, dir_fd=above)
                except FileNotFoundError:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=above)
                    folder = os.open(name, OPEN_FOLDER, dir_fd=above)
                os.close(above)
                above = folder
        finally:
            os.close(above)
        self._sound_folders.add(path)

    def close(self) -> None:
        """Let the lock go; nothing is written any more."""
        with contextlib.suppress(OSError):
            os.unlink(content.lock_path(self._owner), dir_fd=self._directory)
        os.close(self._lock)


def sweep(directory: int, room: Room) -> None:
    """Remove the temporary files of those who are dead, and give back what they had taken. Raises OSError."""
    for owner, temporaries in content.temporaries(directory).items():
        try:
            lock = os.open(content.lock_path(owner), OPEN_TO_READ, dir_fd=directory)
        except FileNotFoundError:
            lock = None
        try:
            with room.changing() as count:
                if lock is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for temporary in temporaries:
                    with contextlib.suppress(FileNotFoundError):  # another swept it
                        os.unlink(temporary, dir_fd=directory)
                        if count.is_counted and count.pending:
                            count.taken_bytes = max(count.taken_bytes - content.taken_for(temporary), 0)
                            count.pending -= 1
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(content.lock_path(owner), dir_fd=directory)
        except BlockingIOError:  # it lives
            continue
        finally:
            if lock is not None:
                os.close(lock)


def _is_there(path: str, directory: int) -> bool:
    try:
        os.stat(path, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
