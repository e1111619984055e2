"""The files that a command writes at its end: what cannot be written is said before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import AioloaderError, OptionError
from aioloader.view.whole_file import try_writing, write_whole

if TYPE_CHECKING:
    from pathlib import Path


def check_file(option: str, path: Path) -> None:
    """Raises `OptionError` where ``path`` is no file, or cannot be written."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise OptionError(option, repr(str(path)), "a file in a folder that exists")
    try:
        try_writing(path)
    except OSError as exc:
        raise OptionError(option, repr(str(path)), f"a file that can be written ({exc.strerror})") from exc


def write_files(texts: dict[Path, str]) -> None:
    """Each whole or not at all, and told of. Raises `AioloaderError` of the first that failed, after all."""
    failure: AioloaderError | None = None
    for path, text in texts.items():
        try:
            write_whole(path, text)
        except OSError as exc:
            if failure is None:
                failure = AioloaderError(f"{path} cannot be written: {exc.strerror}")
                failure.__cause__ = exc
        else:
            print(f"written: {path}", flush=True)
    if failure is not None:
        raise failure
