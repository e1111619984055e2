"""Elements as strings: whatever a user gave is redacted and escaped on its way in, so that none of it is markup."""

from __future__ import annotations

import re
from html import escape
from typing import NewType

from aioloader.redact import printable_key, redact_url

Markup = NewType("Markup", str)
"""Well-formed markup, ready to be put into a page. Made by `element` and `text` only."""

NOTHING = Markup("")

LONGEST_TEXT = 240
"""Characters of one text that are shown; of longer ones the middle is left out."""

_STARTS_AS_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.\-]*://")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+")


def plain(value: str, longest: int = LONGEST_TEXT) -> str:
    """``value`` in one printable line: addresses in it without their secrets, control characters escaped, shortened."""
    if "://" in value:
        if _STARTS_AS_ADDRESS.match(value):
            value = redact_url(value)
        else:
            value = _ADDRESS.sub(lambda found: redact_url(found[0]), value)
    value = printable_key(value)
    if len(value) > longest:
        kept = (longest - 1) // 2
        value = f"{value[:kept]}…{value[-kept:]}"
    return value


def text(value: str, longest: int = LONGEST_TEXT) -> Markup:
    """``value`` as text between tags."""
    return Markup(escape(plain(value, longest)))


def number(value: float) -> str:
    """With two decimals at most: a hundredth of a pixel is seen by nobody."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def element(name: str, *children: Markup, **attributes: str | float) -> Markup:
    """``<name attributes>children</name>``.

    ``class_`` is written ``class``, ``text_anchor`` ``text-anchor``. Values are escaped and redacted, not shortened.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{''.join(children)}</{name}>")


def _attribute(value: str | float) -> str:
    return escape(plain(value, len(value) * 12 + 1)) if isinstance(value, str) else number(value)


def joined(parts: list[Markup]) -> Markup:
    """One after the other."""
    return Markup("".join(parts))
