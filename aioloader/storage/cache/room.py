"""How much of the cache's bound is taken: one record in a file, changed under a lock by every process that writes.

Room is taken before a file is written and given back where it was not, so that the bound holds over all of them. What a
killed process had taken stays taken until its temporary file is swept, or until a process that is alone counts again:
after a start of the machine, and where somebody died between two lines.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aioloader.storage.cache.content import COUNT_FILE, RECORD_FILE, USERS_FILE, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAGIC: Final = b"aioroom1"
# Magic, whether it was counted, bytes taken, entries, files being written, the last bound, the machine's start.
_RECORD: Final = struct.Struct("<8sqqqqq16s")
_CHECK: Final = struct.Struct("<I")
_FREE_SHARE: Final = 0.05
"""Of the file system that stays free, whatever the bound is."""
_AUTO_SHARE: Final = 0.5
_PATIENCE_S: Final = 2.0
"""For a lock that is held for microseconds: who has it longer was stopped."""
_LOOK_S: Final = 0.001
_LONGEST_COUNT_S: Final = 60.0
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Verdict(Enum):
    """What became of an entry: ``TOO_LARGE`` is for this one only, ``FULL`` for all of the usual size."""

    TAKEN = auto()
    THERE = auto()
    TOO_LARGE = auto()
    FULL = auto()
    DISK_FULL = auto()
    UNCOUNTED = auto()


@dataclass(slots=True)
class Count:
    """What the record holds. ``taken_bytes`` counts whole blocks, ``pending`` files that are being written."""

    is_counted: bool = False
    taken_bytes: int = 0
    entries: int = 0
    pending: int = 0
    bound_bytes: int = 0
    start: bytes = b""

    @classmethod
    def unpack(cls, record: bytes) -> Count:
        """Of a broken or empty record: nothing is known."""
        facts = record[: _RECORD.size]
        if len(record) != _RECORD.size + _CHECK.size or _CHECK.unpack(record[_RECORD.size :])[0] != zlib.crc32(facts):
            return cls()
        magic, is_counted, taken_bytes, entries, pending, bound_bytes, start = _RECORD.unpack(facts)
        return cls(bool(is_counted), taken_bytes, entries, pending, bound_bytes, start) if magic == _MAGIC else cls()

    def pack(self) -> bytes:
        """As it is written."""
        facts = _RECORD.pack(
            _MAGIC, self.is_counted, self.taken_bytes, self.entries, self.pending, self.bound_bytes, self.start
        )
        return facts + _CHECK.pack(zlib.crc32(facts))


class Room:
    """The record of one directory as one opening of it sees it; its methods block, and any thread may call them."""

    def __init__(self, folder: int, bound_bytes: int | None) -> None:
        """``bound_bytes`` None: half of what is free, with what the cache holds. Raises OSError."""
        self._folder = folder
        self._bound_bytes = bound_bytes
        self._lock = threading.Lock()
        self._counting_lock = threading.Lock()
        with contextlib.ExitStack() as stack:
            self._record = _opened(RECORD_FILE, folder, stack)
            self._users = _opened(USERS_FILE, folder, stack)
            self._counting = _opened(COUNT_FILE, folder, stack)
            self.is_alone = _try_lock(self._users, fcntl.LOCK_EX)
            """Whether nobody else had the directory open; until `join`."""
            if not self.is_alone:
                _lock(self._users, fcntl.LOCK_SH)
            stack.pop_all()

    def join(self) -> None:
        """Let others in, after what one that is alone may do."""
        if self.is_alone:
            with self.changing() as count:
                start = _machine_start()
                if count.pending or not start or count.start != start:
                    count.is_counted, count.pending = False, 0
                count.start = start
            # After a loss of power the record may be older than the entries: then at least it tells of another start.
            with contextlib.suppress(OSError):
                os.fsync(self._record)
            self.is_alone = False
            _lock(self._users, fcntl.LOCK_SH)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Count]:
        """The record, under the lock; written back as it is left. Raises OSError."""
        if not self._lock.acquire(timeout=_PATIENCE_S):
            raise _stopped()
        try:
            _lock(self._record, fcntl.LOCK_EX)
            try:
                before = os.pread(self._record, _RECORD.size + _CHECK.size, 0)
                count = Count.unpack(before)
                yield count
                after = count.pack()
                if after != before:
                    os.pwrite(self._record, after, 0)
            finally:
                fcntl.flock(self._record, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def read(self) -> Count:
        """The record as it is now."""
        return Count.unpack(os.pread(self._record, _RECORD.size + _CHECK.size, 0))

    def take(self, sizes: Sequence[int]) -> list[Verdict]:
        """Take so many bytes for each of some files that are going to be written. Raises OSError."""
        with self.changing() as count:
            if not count.is_counted:
                return [Verdict.UNCOUNTED] * len(sizes)
            disk = os.fstatvfs(self._folder)
            free_bytes = disk.f_bavail * disk.f_frsize
            if self._bound_bytes is None:
                self._bound_bytes = int((free_bytes + count.taken_bytes) * _AUTO_SHARE)
            count.bound_bytes = self._bound_bytes
            free_bytes -= int(disk.f_blocks * disk.f_frsize * _FREE_SHARE)
            verdicts = []
            for nbytes in sizes:
                verdict = self._verdict(count, nbytes, free_bytes)
                if verdict is Verdict.TAKEN:
                    free_bytes -= nbytes
                    count.taken_bytes += nbytes
                    count.pending += 1
                verdicts.append(verdict)
            return verdicts

    def _verdict(self, count: Count, nbytes: int, free_bytes: int) -> Verdict:
        assert self._bound_bytes is not None
        if count.taken_bytes + nbytes > self._bound_bytes:
            is_ordinary = nbytes <= self._bound_bytes and nbytes * count.entries <= 2 * count.taken_bytes
            return Verdict.FULL if is_ordinary else Verdict.TOO_LARGE
        return Verdict.TAKEN if nbytes <= free_bytes else Verdict.DISK_FULL

    def removed(self, count: Count, file_bytes: int) -> None:
        """An entry's file of so many bytes, or what was in its place, was removed; under the lock of ``count``."""
        count.taken_bytes = max(count.taken_bytes - blocks(file_bytes), 0)
        count.entries = max(count.entries - 1, 0)

    @contextlib.contextmanager
    def counting(self) -> Iterator[bool]:
        """Whether the caller is to count; False once another has, or where it takes another process long."""
        if not self._counting_lock.acquire(timeout=_LONGEST_COUNT_S):  # a lock of its own: threads share a descriptor
            yield False
            return
        try:
            try:
                _lock(self._counting, fcntl.LOCK_EX)
            except TimeoutError:
                yield False
                return
            try:
                yield not self.read().is_counted
            finally:
                fcntl.flock(self._counting, fcntl.LOCK_UN)
        finally:
            self._counting_lock.release()

    def close(self) -> None:
        """Let go of every descriptor."""
        for descriptor in (self._record, self._users, self._counting):
            os.close(descriptor)


def _opened(name: str, folder: int, stack: contextlib.ExitStack) -> int:
    descriptor = os.open(name, _OPEN, 0o600, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(descriptor: int, kind: int) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not _try_lock(descriptor, kind):
        if time.monotonic() > deadline_s:
            raise _stopped()
        time.sleep(_LOOK_S)


def _stopped() -> OSError:
    return TimeoutError(f"another process has held the lock for {_PATIENCE_S:g} s")


def _machine_start() -> bytes:
    """What differs after each start of the machine; empty where the system does not tell."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return b""
