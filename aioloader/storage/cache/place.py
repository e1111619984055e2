"""Which directory may be a cache: one that nobody but its owner can put files into, and that holds nothing else."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from aioloader.errors import OptionError
from aioloader.storage.cache.content import OURS, RECORD_FILE

OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_WITH_ANY_FILE_SYSTEM: Final = frozenset({"lost+found"})


def open_directory(path: str) -> tuple[int, bool]:
    """A descriptor of ``path``, made with mode 0700 where there is nothing, and whether it is a cache already.

    Raises `OptionError` for what is no directory, another user's, writable by others, or full of other files; OSError
    for what else the system says.
    """
    place = Path(path)
    expected = "a directory of yours, or a path where one can be made"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (NotADirectoryError, FileExistsError) as exc:
        raise OptionError("cache", repr(path), f"{expected}; this is a file, or leads through one") from exc
    try:
        _check_owner(path, os.fstat(descriptor))
        return descriptor, _is_cache(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _check_owner(path: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise OptionError(
            "cache",
            repr(path),
            f"a directory that belongs to you, user {os.geteuid()}; this one is user {status.st_uid}'s, "
            "who could put anything into it",
        )
    if status.st_mode & OTHERS_MAY_WRITE:
        expected = f"a directory that only you may write to: chmod go-w {path}, or name another one"
        raise OptionError("cache", repr(path), expected)


def _is_cache(path: str, descriptor: int) -> bool:
    with os.scandir(descriptor) as found:
        names = {entry.name for entry in found}
    if RECORD_FILE in names:
        return True
    if names - OURS - _WITH_ANY_FILE_SYSTEM:
        raise OptionError("cache", repr(path), "an empty or new directory, or one that is a cache; this holds files")
    return False
