"""``aioloader cache``: what it says of a directory and finds in it, and that it removes only what is the cache's."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from aioloader.cli.main import main
from aioloader.storage.cache.entry import EntryName, name_entry
from aioloader.storage.cache.folder import CacheFolder
from tests.storage.cache_rig import entry_files, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Start

N, UNVERSIONED = 9, 3


def name(number: int) -> EntryName:
    size_bytes = None if number < UNVERSIONED else 5000
    return name_entry("https://host:443", "https://host/", f"{number}", None, size_bytes, None)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Nine entries of 5,000 bytes, three of which know neither size nor ETag."""
    path = tmp_path / "cache"
    with closing(CacheFolder(str(path), 1_000_000)) as folder:
        for number in range(N):
            write(folder, name(number), bytes([number]) * 5000)
    return path


def spoil(cache: Path, number: int) -> Path:
    path = cache / name(number).path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return path


def record(cache: Path) -> tuple[int, int]:
    with closing(CacheFolder(str(cache), None)) as folder:
        assert folder.room is not None
        count = folder.room.read()
        return count.entries, count.taken_bytes


def test_stat_says_what_there_is(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stat", str(cache)]) == 0
    out = capsys.readouterr().out
    assert f"{cache}: 9 entries, 45.0 kB (73.7 kB on disk)\n" in out
    assert " of 1.0 MB taken, by the last loader's cache_size\n" in out
    assert "3 known by their URL alone: no size, no ETag was listed; a changed object is not seen\n" in out
    assert "are free; 5 % stay so" in out
    assert "are no entries" not in out
    assert "being written" not in out


def test_stat_counts_what_is_no_entry_and_names_strangers(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / name(0).path).write_bytes(b"short")
    (cache / name(1).path).unlink()
    (cache / name(1).path).symlink_to("/etc/passwd")
    (cache / "thesis.tex").write_text("x")
    (cache / name(0).path).with_name("notes").write_text("x")
    assert main(["cache", "stat", str(cache)]) == 0
    out = capsys.readouterr().out
    assert ": 7 entries, 35.0 kB" in out
    assert "2 files are no entries though they are named so; see `aioloader cache verify`" in out
    folders = "/".join(name(0).folders)
    assert f"not the cache's: 'thesis.tex', '{folders}/notes'" in out


def test_verify_is_content_with_what_is_sound(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "verify", str(cache)]) == 0
    assert capsys.readouterr().out == "9 entries are sound, 0 spoilt\n"


def test_verify_names_what_is_spoilt_and_leaves_it(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(cache, 4)
    before = record(cache)
    for _ in range(2):
        assert main(["cache", "verify", str(cache)]) == 1
        out = capsys.readouterr().out
        assert out == f"{name(4).path}: its bytes have another checksum\n8 entries are sound, 1 spoilt\n"
    assert record(cache) == before
    assert len(entry_files(cache)) == N


def test_verify_deletes_what_is_spoilt_where_it_is_told_to(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    spoil(cache, 4)
    (cache / name(5).path).unlink()
    (cache / name(5).path).symlink_to(outside)
    assert main(["cache", "verify", "--delete", str(cache)]) == 1
    out = capsys.readouterr().out
    assert f"{name(4).path}: its bytes have another checksum; removed\n" in out
    assert f"{name(5).path}: it is not a regular file; removed\n" in out
    assert "7 entries are sound, 2 spoilt" in out
    assert outside.read_text() == "x"
    assert main(["cache", "verify", str(cache)]) == 0


def test_clear_removes_every_entry_and_nothing_else(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ("0" * 64)).write_text("x")
    (cache / "thesis.tex").write_text("x")
    kept = (cache / name(0).path).with_name("notes")
    kept.write_text("x")
    (cache / name(1).path).unlink()
    (cache / name(1).path).symlink_to(outside / ("0" * 64))
    (cache / "link").symlink_to(outside)
    (cache / "0").mkdir(exist_ok=True)
    (cache / "0" / "0").symlink_to(outside)
    assert main(["cache", "clear", str(cache)]) == 0
    out = capsys.readouterr().out
    assert "removed 9 entries\n" in out
    assert "not the cache's, and still there: 'link', 'thesis.tex'" in out
    left = {str(path.relative_to(cache)) for path in cache.rglob("*") if not path.is_dir() or path.is_symlink()}
    ours = {"aioloader-cache", "users.lock", "count.lock"}
    assert left == ours | {"thesis.tex", "link", "0/0", str(kept.relative_to(cache))}
    assert (outside / ("0" * 64)).read_text() == "x"
    assert record(cache)[0] == 0


def test_clear_gives_the_room_back_to_loaders_that_run(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(CacheFolder(str(cache), 1_000_000)) as folder:
        assert main(["cache", "clear", str(cache)]) == 0
        assert folder.room is not None
        assert folder.room.read().taken_bytes == 0
        assert folder.read(name(0)) is None
        write(folder, name(0), b"again")
        assert folder.read(name(0)) == b"again"


@pytest.mark.parametrize("action", ["stat", "verify", "clear"])
def test_what_is_no_cache_is_refused_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for directory in (tmp_path, tmp_path / "nowhere"):
        assert main(["cache", action, str(directory)]) == 2
        expected = f"aioloader: DIR='{directory}': expected a directory that a loader was given as cache=\n"
        assert capsys.readouterr() == ("", expected)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_that_others_may_write_to_is_refused(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.chmod(0o770)
    assert main(["cache", "clear", str(cache)]) == 2
    assert "only you may write to" in capsys.readouterr().err
    assert len(entry_files(cache)) == N


def test_it_runs_as_a_command(start: Start, cache: Path) -> None:
    process = start("cache", "verify", str(cache))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "9 entries are sound, 0 spoilt\n", "")


def test_on_a_terminal_it_shows_how_far_it_is(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty()
    try:
        with os.fdopen(os.dup(writer), "w") as terminal:
            monkeypatch.setattr("sys.stderr", terminal)
            assert main(["cache", "verify", str(cache)]) == 0
            terminal.flush()
        assert b"checking" in os.read(reader, 65536)
    finally:
        os.close(reader)
        os.close(writer)
