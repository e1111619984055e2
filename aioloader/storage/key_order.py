"""The order of keys that is the same for every store and listing."""

from __future__ import annotations


def key_bytes(key: str) -> bytes:
    """What keys are sorted by: their bytes, also those of names that are not UTF-8."""
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which JSON can name; no file has it
        return key.encode("utf-8", "surrogatepass")
