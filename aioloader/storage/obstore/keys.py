"""Keys that obstore can address, and the ones it would change on the way.

obstore's paths have no empty, ``.`` or ``..`` segment and no control character: it drops a leading or
trailing slash without a word (``a/`` becomes the other object ``a``) and refuses the rest.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


def is_faithful(key: str) -> bool:
    """Whether obstore takes ``key`` as it is; the empty key stands for no object."""
    if _UNSAFE.search(key):
        return False
    return all(segment not in ("", ".", "..") for segment in key.split("/"))


def split_at_empty_segment(key: str) -> tuple[str | None, str] | None:
    """``(head, rest)`` with ``key == head + "/" + rest``, where ``rest`` is empty or faithful.

    ``head`` is None where the whole key is faithful. None for a key that no URL carries unchanged: one with a
    ``.`` or ``..`` segment, which URL parsers resolve, or with a control character.
    """
    segments = key.split("/")
    if _UNSAFE.search(key) or any(segment in (".", "..") for segment in segments):
        return None
    if "" not in segments:
        return None, key
    last_empty = len(segments) - 1 - segments[::-1].index("")
    if last_empty == len(segments) - 1:
        return key[:-1], ""
    return "/".join(segments[: last_empty + 1]), "/".join(segments[last_empty + 1 :])
