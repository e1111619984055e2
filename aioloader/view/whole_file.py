"""A file that is there as a whole or not at all, whoever reads or dies meanwhile."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Put ``text`` at ``path``, in place of what was there. Raises OSError, and leaves that, where it cannot."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(text)
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
