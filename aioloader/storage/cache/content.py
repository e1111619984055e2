"""What lies in a cache's directory, by the shape of its names; no link is followed on the way."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD_FILE: Final = "aioloader-cache"
"""How much room is taken; also what tells a cache from any other directory."""
USERS_FILE: Final = "users.lock"
COUNT_FILE: Final = "count.lock"
TEMPORARY_FOLDER: Final = "tmp"
OURS: Final = frozenset({RECORD_FILE, USERS_FILE, COUNT_FILE, TEMPORARY_FOLDER})

OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# 16 folders of 16: a million entries are 4,000 in each, and the folders, which the bound does not count, take 1.1 MB.
_FOLDER: Final = re.compile(r"[0-9a-f]")
_ENTRY: Final = re.compile(r"[0-9a-f]{64}")
_TEMPORARY: Final = re.compile(r"(\d+-[0-9a-f]{16})(?:-\d+-\d+|\.lock)")

_BLOCK: Final = 4096


def blocks(file_bytes: int) -> int:
    """What a file of ``file_bytes`` takes on a disk."""
    return -(-file_bytes // _BLOCK) * _BLOCK


def temporary_path(owner: str, number: int, taken_bytes: int) -> str:
    """The path of ``owner``'s file ``number``, which is about to be written; ``taken_bytes`` were taken for it."""
    return f"{TEMPORARY_FOLDER}/{owner}-{number}-{taken_bytes}"


def lock_path(owner: str) -> str:
    """The path of the file that ``owner`` keeps locked while it lives."""
    return f"{TEMPORARY_FOLDER}/{owner}.lock"


def taken_for(temporary: str) -> int:
    """What was taken for the temporary file."""
    return int(temporary.rpartition("-")[2])


def entry_paths(directory: int) -> Iterator[str]:
    """Every entry's path, whatever kind of file it is; sorted."""
    for first in _names(directory, ".", _FOLDER):
        for second in _names(directory, first, _FOLDER):
            for file in _names(directory, f"{first}/{second}", _ENTRY):
                yield f"{first}/{second}/{file}"


def digest_of(path: str) -> bytes:
    """The digest that an entry's path spells."""
    return bytes.fromhex(path.rpartition("/")[2])


def temporaries(directory: int) -> dict[str, list[str]]:
    """By owner, the paths of files that are being written, or were when their writer was killed."""
    found: dict[str, list[str]] = {}
    for name in _names(directory, TEMPORARY_FOLDER, _TEMPORARY):
        owner = "-".join(name.removesuffix(".lock").split("-")[:2])
        files = found.setdefault(owner, [])
        if not name.endswith(".lock"):
            files.append(f"{TEMPORARY_FOLDER}/{name}")
    return found


def entry_folders(directory: int) -> Iterator[str]:
    """The folders that entries lie in, the deeper ones first."""
    for first in _names(directory, ".", _FOLDER):
        yield from (f"{first}/{second}" for second in _names(directory, first, _FOLDER))
        yield first


def strangers(directory: int) -> Iterator[str]:
    """What lies there, or in one of our folders, and is not ours."""
    folders = [
        (".", re.compile("|".join([*map(re.escape, OURS), _FOLDER.pattern]))),
        (TEMPORARY_FOLDER, _TEMPORARY),
        *((folder, _FOLDER if len(folder) == 1 else _ENTRY) for folder in entry_folders(directory)),
    ]
    for folder, ours in folders:
        for name in _names(directory, folder, re.compile(r".*", re.DOTALL)):
            if not ours.fullmatch(name):
                yield name if folder == "." else f"{folder}/{name}"


def is_regular(directory: int, path: str) -> os.stat_result | None:
    """The status of a regular file at ``path``; None for everything else."""
    try:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _names(directory: int, folder: str, pattern: re.Pattern[str]) -> list[str]:
    try:
        descriptor = os.open(folder, OPEN_FOLDER, dir_fd=directory)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # gone meanwhile, or not ours
            return []
        raise
    try:
        with os.scandir(descriptor) as found:
            return sorted(entry.name for entry in found if pattern.fullmatch(entry.name))
    finally:
        os.close(descriptor)
