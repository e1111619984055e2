"""Where the cache is and how large it may become."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aioloader.errors import OptionError
from aioloader.units import human_bytes, parse_bytes


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """``path`` is absolute; ``bound_bytes`` None means half of what is free, with what the cache holds."""

    path: str
    bound_bytes: int | None

    @classmethod
    def checked(cls, cache: str | os.PathLike[str], cache_size: int | str) -> CacheOptions:
        """From a loader's options. Raises `OptionError`."""
        expected = "a directory for the bytes that were fetched, or None"
        try:
            text: object = os.fspath(cache)
        except TypeError:
            raise OptionError("cache", repr(cache), expected) from None
        if not isinstance(text, str) or not text or "\0" in text or "://" in text:
            raise OptionError("cache", repr(cache), expected)
        try:
            path = Path(text).expanduser().absolute()
        except RuntimeError as exc:  # "~name" of nobody
            raise OptionError("cache", repr(cache), "a home folder that exists") from exc
        bound_bytes = None
        if not (isinstance(cache_size, str) and cache_size == "auto"):
            bound_bytes = parse_bytes("cache_size", cache_size)
            if bound_bytes < 1:
                raise OptionError("cache_size", repr(cache_size), 'a size such as "100GB"; cache=None goes without')
        return cls(str(path), bound_bytes)

    @property
    def shown_bound(self) -> str:
        """For the report."""
        return "auto" if self.bound_bytes is None else human_bytes(self.bound_bytes)

    @staticmethod
    def is_worth(origin: str) -> bool:
        """Whether objects of ``origin`` come from farther than a disk."""
        return not origin.startswith(("file:", "memory:"))
