"""A file that is there as a whole or not at all, whoever reads or dies meanwhile."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Put ``text`` at ``path``, in place of what was there. Raises OSError, and leaves that, where it cannot.

    A device or a pipe is written to, and a link stays one.
    """
    target = Path(path).resolve()
    if _is_no_file(target):
        target.write_text(text, encoding="utf-8")
        return
    beside = _beside(target)
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(text)
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def try_writing(path: str | os.PathLike[str]) -> None:
    """Raises the OSError of a `write_whole` that has no chance; writes nothing."""
    target = Path(path).resolve()
    if not _is_no_file(target):
        beside = _beside(target)
        beside.touch(exist_ok=False)
        beside.unlink()


def _is_no_file(target: Path) -> bool:
    return target.exists() and not target.is_file() and not target.is_dir()


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}")
