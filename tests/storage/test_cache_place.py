"""Which directories are taken as a cache, and what a hostile one can do."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import OptionError
from aioloader.storage.cache.entry import BadEntryError, name_entry
from aioloader.storage.cache.folder import CacheFolder
from aioloader.storage.cache.options import CacheOptions
from aioloader.storage.cache.room import Verdict
from tests.storage.cache_rig import entry_files, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = name_entry("https://host:443", "https://host/", "a.jpg", None, 4, None)
OTHER = name_entry("https://host:443", "https://host/", "b.jpg", None, 4, None)


def test_it_is_made_for_its_owner_alone_with_what_is_above_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = CacheFolder(str(tmp_path / "a" / "b"), 10**6)
        assert write(folder, NAME, b"body") is Verdict.TAKEN
        folder.close()
    finally:
        os.umask(before)
    made = [tmp_path / "a" / "b", *(tmp_path / "a" / "b").rglob("*")]
    assert len(made) >= 7
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def make_file(path: Path) -> None:
    path.write_text("x")


def make_group_writable(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def make_world_writable(path: Path) -> None:
    path.mkdir()
    path.chmod(0o707)


def make_full_of_files(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("x")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_file, "this is a file"),
        (make_group_writable, "only you may write to: chmod go-w"),
        (make_world_writable, "only you may write to: chmod go-w"),
        (make_full_of_files, "this holds files"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_a_cache_is_refused_and_stays_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / "it")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OptionError, match=words):
        CacheFolder(str(tmp_path / "it"), None)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, 65534, 65534)
    with pytest.raises(OptionError, match=r"belongs to you, user 0; this one is user 65534's"):
        CacheFolder(str(path), None)


@pytest.mark.parametrize("cache", [3, b"here", "", "a\0b", "https://host/cache", "s3://bucket/cache"])
def test_what_is_no_directory_is_no_cache(cache: object) -> None:
    with pytest.raises(OptionError, match=r"^cache="):
        CacheOptions.checked(cache, "1GB")  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("size", ["much", "-1GB", 0, "0", None])
def test_what_is_no_size_is_no_bound(size: object) -> None:
    with pytest.raises(OptionError, match=r"^cache_size="):
        CacheOptions.checked("here", size)  # type: ignore[arg-type]  # what is refused


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    folder = CacheFolder(str(path), 10**6)
    assert write(folder, NAME, b"body") is Verdict.TAKEN
    folder.close()
    return path


def plant_link(file: Path, outside: Path) -> None:
    outside.write_bytes(file.read_bytes())  # even one that leads to the right bytes
    file.unlink()
    file.symlink_to(outside)


def plant_fifo(file: Path, outside: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def plant_file_of_others(file: Path, outside: Path) -> None:
    file.chmod(0o666)


@pytest.mark.parametrize("plant", [plant_link, plant_fifo, plant_file_of_others], ids=lambda plant: plant.__name__)
def test_what_was_planted_in_an_entrys_place_is_not_read_and_goes(
    filled: Path, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    file, outside = entry_files(filled)[0], tmp_path / "outside"
    plant(file, outside)
    folder = CacheFolder(str(filled), 10**6)
    with pytest.raises(BadEntryError):
        folder.read(NAME)
    assert not os.path.lexists(file)
    assert write(folder, NAME, b"body") is Verdict.TAKEN
    assert folder.read(NAME) == b"body"
    folder.close()
    assert plant is not plant_link or outside.exists()


def test_a_linked_folder_takes_no_entry_out_of_the_cache(tmp_path: Path) -> None:
    path, outside = tmp_path / "cache", tmp_path / "outside"
    CacheFolder(str(path), 10**6).close()
    outside.mkdir()
    (path / NAME.folders[0]).symlink_to(outside)
    folder = CacheFolder(str(path), 10**6)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        write(folder, NAME, b"body")
    folder.close()
    assert list(outside.iterdir()) == []
    assert list((path / "tmp").iterdir()) == []


def test_entries_that_changed_places_are_found_out(filled: Path) -> None:
    folder = CacheFolder(str(filled), 10**6)
    write(folder, OTHER, b"ydob")
    one, other = filled / NAME.path, filled / OTHER.path
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    for name in (NAME, OTHER):
        with pytest.raises(BadEntryError, match="another object"):
            folder.read(name)
    folder.close()
    assert entry_files(filled) == []


def test_a_cache_that_can_only_be_read_is_read(filled: Path) -> None:
    program = """
import os, sys
from aioloader.storage.cache.entry import BadEntryError, name_entry
from aioloader.storage.cache.folder import CacheFolder
if os.geteuid() == 0:
    os.setuid(65534)
folder = CacheFolder(sys.argv[1], 10**6)
name = name_entry("https://host:443", "https://host/", "a.jpg", None, 4, None)
print(folder.read(name), folder.room, folder.read_only_because.strerror)
try:
    folder.write([(name, b"body")])
except OSError as exc:
    print("refused", exc.strerror)
"""
    if os.geteuid() == 0:  # root may write whatever the mode says
        for path in (filled, *filled.rglob("*")):
            os.chown(path, 65534, 65534)
    (filled / "aioloader-cache").chmod(0o400)
    command = [sys.executable, "-c", program, "."]  # what lies above is closed to other users
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=filled, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["b'body' None Permission denied", "refused Permission denied"]
