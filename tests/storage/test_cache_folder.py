"""The bound of a cache over everybody who writes it, and what the killed leave behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import struct
import subprocess
import sys
import threading
import zlib
from typing import TYPE_CHECKING

import pytest

from aioloader.storage.cache import folder as cache_folder
from aioloader.storage.cache import room as cache_room
from aioloader.storage.cache import writer as cache_writer
from aioloader.storage.cache.content import RECORD_FILE
from aioloader.storage.cache.entry import BadEntryError, EntryName, name_entry
from aioloader.storage.cache.files import write_all
from aioloader.storage.cache.folder import CacheFolder, ClosedError
from aioloader.storage.cache.room import Count, Verdict
from tests.storage.cache_rig import entry_files, taken, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BOUND = 1_000_000
SLACK = 4096
"""Beyond the bound: what tells of it."""


def name(number: int) -> EntryName:
    return name_entry("https://host:443", "https://host/", f"{number}", None, None, None)


def body(number: int, nbytes: int = 5000) -> bytes:
    return random.Random(number).randbytes(nbytes)


@contextlib.contextmanager
def opened(path: Path, bound: int | None = BOUND) -> Iterator[CacheFolder]:
    folder = CacheFolder(str(path), bound)
    try:
        yield folder
    finally:
        folder.close()


def count_of(folder: CacheFolder) -> Count:
    assert folder.room is not None
    return folder.room.read()


def fill(folder: CacheFolder, numbers: range, nbytes: int = 5000) -> list[Verdict]:
    """A few at a time, as what is fetched is written."""
    verdicts: list[Verdict] = []
    for first in range(numbers.start, numbers.stop, 7):
        some = range(first, min(first + 7, numbers.stop))
        verdicts += folder.write([(name(number), body(number, nbytes)) for number in some])
    return verdicts


def test_it_is_filled_to_its_bound_and_what_is_there_stays(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        verdicts = fill(folder, range(200))
        written = verdicts.count(Verdict.TAKEN)
        assert verdicts == [Verdict.TAKEN] * written + [Verdict.FULL] * (200 - written)
        assert count_of(folder).entries == written == len(entry_files(tmp_path / "cache"))
        for number in range(200):
            assert folder.read(name(number)) == (body(number) if number < written else None)
    assert 0.9 * BOUND < taken(tmp_path / "cache") <= BOUND + SLACK


def test_one_that_is_too_large_leaves_room_for_the_others(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        assert fill(folder, range(3)) == [Verdict.TAKEN] * 3
        assert write(folder, name(3), bytes(BOUND)) is Verdict.TOO_LARGE
        assert write(folder, name(4), bytes(980_000)) is Verdict.TOO_LARGE
        assert fill(folder, range(5, 8)) == [Verdict.TAKEN] * 3


def test_what_is_there_already_takes_no_second_room(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        fill(folder, range(5))
        before = count_of(folder)
        assert fill(folder, range(5)) == [Verdict.THERE] * 5
        assert count_of(folder) == before
        assert before.pending == 0


def test_a_spoilt_entry_gives_its_room_back(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        fill(folder, range(2))
        before = count_of(folder)
        fill(folder, range(2, 3))
        path = tmp_path / "cache" / name(2).path
        path.write_bytes(bytes(path.stat().st_size))
        with pytest.raises(BadEntryError):
            folder.read(name(2))
        after = count_of(folder)
        assert (after.entries, after.pending) == (2, 0)
        assert before.taken_bytes == after.taken_bytes
        assert folder.read(name(2)) is None


def test_what_came_in_a_spoilt_entrys_place_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache"
    with opened(path) as folder, opened(path) as other:
        fill(folder, range(1))

        def read_body(descriptor: int, digest: bytes) -> bytes:
            """Another process has found it spoilt too, removed it and written it anew."""
            assert other.remove(name(0).path)
            assert fill(other, range(1)) == [Verdict.TAKEN]
            raise BadEntryError("spoilt")

        with monkeypatch.context() as patch:
            patch.setattr(cache_folder, "read_body", read_body)
            with pytest.raises(BadEntryError):
                folder.read(name(0))
        assert folder.read(name(0)) == body(0)
        assert count_of(folder).entries == 1


def test_half_of_what_is_free_is_the_bound_that_nobody_gave(tmp_path: Path) -> None:
    with opened(tmp_path / "cache", None) as folder:
        assert fill(folder, range(1)) == [Verdict.TAKEN]
        disk = os.statvfs(tmp_path)
        assert count_of(folder).bound_bytes == pytest.approx(disk.f_bavail * disk.f_frsize / 2, rel=0.2)


def test_a_part_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr(cache_room, "_FREE_SHARE", disk.f_bavail / disk.f_blocks + 0.01)
    with opened(tmp_path / "cache") as folder:
        assert fill(folder, range(2)) == [Verdict.DISK_FULL] * 2
        assert entry_files(tmp_path / "cache") == []


def test_two_openings_share_one_bound(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as one, opened(tmp_path / "cache") as other:
        for number in range(0, 200, 2):
            fill(one, range(number, number + 1))
            fill(other, range(number + 1, number + 2))
        assert count_of(one) == count_of(other)
        assert count_of(one).entries == len(entry_files(tmp_path / "cache"))
    assert 0.9 * BOUND < taken(tmp_path / "cache") <= BOUND + SLACK


def test_threads_that_begin_together_count_once(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / str(attempt)
        with opened(path) as folder:
            start = threading.Barrier(4)

            def run(thread: int, folder: CacheFolder = folder, start: threading.Barrier = start) -> None:
                start.wait()
                fill(folder, range(thread * 100, thread * 100 + 100))

            threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            count = count_of(folder)
            assert (count.entries, count.pending) == (len(entry_files(path)), 0)
        assert taken(path) <= BOUND + SLACK


WRITER = """
import sys
from pathlib import Path
from tests.storage.test_cache_folder import BOUND, body, name, opened, write
with opened(Path(sys.argv[1])) as folder:
    for number in range(int(sys.argv[2]), 10**6, int(sys.argv[3])):
        write(folder, name(number), body(number, 5000))
        if folder.room.read().taken_bytes > BOUND - 8192:
            break
"""


@pytest.mark.fault(row=29, stores=("http",))
def test_processes_share_one_bound_and_give_no_wrong_byte(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with contextlib.ExitStack() as stack:
        writers = []
        for first in range(4):  # two and two overlap
            command = [sys.executable, "-c", WRITER, str(path), str(first), str(2 if first < 2 else 4)]
            writers.append(stack.enter_context(subprocess.Popen(command)))
            stack.callback(writers[-1].kill)
        assert [writer.wait(60) for writer in writers] == [0] * 4
    with opened(path) as folder:
        count = count_of(folder)
        assert (count.entries, count.pending) == (len(entry_files(path)), 0)
        found = sum(folder.read(name(number)) == body(number) for number in range(5000))
        assert found == count.entries > 50
    assert taken(path) <= BOUND + SLACK


def leave_half_written(path: Path, owner: str, count: int) -> None:
    """As one leaves it that dies while it writes."""
    for number in range(count):
        (path / "tmp" / f"{owner}-{number}-8192").write_bytes(bytes(100))


@pytest.mark.parametrize("with_lock", [True, False])
def test_what_a_killed_process_had_taken_comes_back(tmp_path: Path, *, with_lock: bool) -> None:
    path, owner = tmp_path / "cache", f"4711-{0:016x}"
    with opened(path) as folder:
        fill(folder, range(3))
        before = count_of(folder)
        assert folder.room is not None
        assert folder.room.take([8192, 8192]) == [Verdict.TAKEN] * 2
        leave_half_written(path, owner, 2)
        if with_lock:
            (path / "tmp" / f"{owner}.lock").touch()
        assert count_of(folder).pending == 2
        with opened(path) as other:  # while the first goes on
            assert count_of(other) == before
    assert list((path / "tmp").iterdir()) == []


@pytest.mark.parametrize("is_full", [False, True])
def test_who_cannot_have_the_lock_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_full: bool
) -> None:
    path = tmp_path / "cache"
    with opened(path) as folder:
        fill(folder, range(2))
        before = count_of(folder)
        record = os.open(path / RECORD_FILE, os.O_RDWR)

        def stopped_in_mid_write(descriptor: int, parts: Sequence[bytes]) -> None:
            write_all(descriptor, parts)
            fcntl.flock(record, fcntl.LOCK_EX)  # as another process does that is stopped with it
            if is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(cache_room, "_PATIENCE_S", 0.05)
            patch.setattr(cache_writer, "write_all", stopped_in_mid_write)
            with pytest.raises(OSError, match="No space" if is_full else "held the lock"):
                fill(folder, range(2, 4))
            assert [file.suffix for file in (path / "tmp").iterdir()] == [".lock"]
        os.close(record)
        assert fill(folder, range(4, 5)) == [Verdict.TAKEN]
        after = count_of(folder)
        assert (after.entries, after.pending) == (3, 0)
        assert after.taken_bytes == before.taken_bytes + before.taken_bytes // 2


def test_what_the_living_are_writing_is_not_swept(tmp_path: Path) -> None:
    path, owner = tmp_path / "cache", f"4711-{0:016x}"
    with opened(path) as folder:
        fill(folder, range(1))
        leave_half_written(path, owner, 2)
        with (path / "tmp" / f"{owner}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with opened(path):
                assert len(list((path / "tmp").glob("4711-*"))) == 3
        with opened(path):
            assert list((path / "tmp").glob("4711-*")) == []


def test_folders_that_were_cleared_away_are_made_again(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        fill(folder, range(20))
        with opened(tmp_path / "cache") as other:
            for file in entry_files(tmp_path / "cache"):
                assert other.remove(str(file.relative_to(tmp_path / "cache")))
            other.remove_empty_folders()
            assert (count_of(other).taken_bytes, count_of(other).entries) == (0, 0)
        assert fill(folder, range(20)) == [Verdict.TAKEN] * 20
        assert count_of(folder).pending == 0


def test_a_name_that_cannot_be_given_leaves_nothing_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache"
    with opened(path) as folder:
        fill(folder, range(1))
        given = os.rename

        def rename(source: str, target: str, **directories: int) -> None:
            if target == name(2).path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a folder that cannot grow
            given(source, target, **directories)

        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(OSError, match="No space left"):
            folder.write([(name(number), body(number)) for number in range(1, 4)])
        count = count_of(folder)
        assert (count.entries, count.pending, count.taken_bytes) == (3, 0, 3 * 8192)
        assert [folder.read(name(number)) is None for number in range(4)] == [False, False, True, False]
        assert list((path / "tmp").glob(f"*-{8192}")) == []


def test_what_is_twice_in_one_go_is_written_once(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        assert folder.write([(name(0), b"body"), (name(0), b"body")]) == [Verdict.TAKEN, Verdict.THERE]
        assert count_of(folder).entries == 1
        assert count_of(folder).taken_bytes == 4096


@pytest.mark.parametrize("how", ["died between two lines", "another start", "torn", "gone"])
def test_who_is_alone_counts_again_where_the_record_may_be_wrong(tmp_path: Path, how: str) -> None:
    path = tmp_path / "cache"
    record = path / RECORD_FILE
    with opened(path) as folder:
        fill(folder, range(3))
        right = count_of(folder)
        assert folder.room is not None
        with folder.room.changing() as count:
            count.taken_bytes = 10**9
            count.pending += how == "died between two lines"
            if how == "another start":
                count.start = bytes(15) + b"1"
    if how == "torn":
        record.write_bytes(record.read_bytes()[:40])
    if how == "gone":
        record.write_bytes(b"")
    with opened(path) as folder:
        assert fill(folder, range(3)) == [Verdict.THERE] * 3
        assert count_of(folder) == right


def test_a_sound_record_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with opened(path) as folder:
        fill(folder, range(3))
        before = count_of(folder)
    for file in entry_files(path):
        file.unlink()  # counting again would see it
    with opened(path) as folder:
        assert count_of(folder) == before


def test_a_record_with_a_wrong_checksum_says_nothing() -> None:
    record = Count(is_counted=True, taken_bytes=5, entries=1, pending=0, bound_bytes=9, start=bytes(16)).pack()
    assert Count.unpack(record).taken_bytes == 5
    for place in range(len(record)):
        spoilt = bytearray(record)
        spoilt[place] ^= 1
        assert Count.unpack(bytes(spoilt)) == Count()
    foreign = b"somewhat" + record[8:-4]
    assert Count.unpack(foreign + struct.pack("<I", zlib.crc32(foreign))) == Count()


def test_a_stopped_process_that_holds_the_lock_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_room, "_PATIENCE_S", 0.05)
    path = tmp_path / "cache"
    with opened(path) as folder:
        fill(folder, range(1))
        with (path / RECORD_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(TimeoutError, match="another process has held the lock"):
                fill(folder, range(1, 2))
            assert folder.read(name(0)) == body(0)  # reading needs none
        assert fill(folder, range(1, 2)) == [Verdict.TAKEN]


def test_a_closed_directory_is_neither_read_nor_written(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        fill(folder, range(1))
    folder.close()
    with pytest.raises(ClosedError):
        folder.read(name(0))
    with pytest.raises(ClosedError):
        write(folder, name(0), b"")


def test_it_is_closed_by_the_last_call_that_runs(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as folder:
        with folder.open():
            folder.close()
            assert os.fstat(folder.descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(folder.descriptor)
