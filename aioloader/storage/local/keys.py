"""From a key to a path below the root, and to no other."""

from __future__ import annotations

from aioloader.errors import ObjectNotFoundError
from aioloader.redact import printable_key


def path_of_key(root: str, key: str, location: str) -> str:
    """The path that ``key`` names below ``root``.

    Raises `ObjectNotFoundError` for a key that names no single file there: empty, absolute, with a ``.``,
    ``..`` or empty segment (the system would read another file), or with a NUL.
    """
    if "\0" in key or any(segment in ("", ".", "..") for segment in key.split("/")):
        raise ObjectNotFoundError(
            "a key on disk has no empty, '.' or '..' segment and does not start or end with '/'",
            location + printable_key(key),
            "Give keys relative to the folder, as its listing does.",
        )
    return f"{root.rstrip('/')}/{key}"
