"""Directory pages of nginx, Apache and Python's ``http.server``, read for the files and folders they show."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes, urlsplit

from aioloader.storage.key_order import key_bytes
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTING_TITLE = re.compile(r"index of|directory listing", re.IGNORECASE)
# After nginx' link: "10-Oct-2026 10:00    12345". Digits alone are exact; "1.2K" (Apache) is rounded.
_DATE_AND_SIZE = re.compile(r"\s*(?:\d{2}-\w{3}-\d{4}|\d{4}-\d{2}-\d{2}) +\d{2}:\d{2}(?::\d{2})?\s+(\d+)(?!\S)")
_CHARS_A_TURN: Final = 65536


@dataclass(frozen=True)
class Page:
    """What one page shows: keys of ``folders`` end with ``/``; both are relative to the store's root."""

    folders: tuple[str, ...]
    files: tuple[ObjectMeta, ...]


class _Links(HTMLParser):
    """Collects ``(href, text after the link)`` and the page's title and headings."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, str]] = []
        self.title = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("title", "h1", "a"):
            self._inside = tag
        if tag == "a":
            href = next((value for name, value in attrs if name == "href"), None)
            if href:
                self.links.append((href, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("title", "h1"):
            self.title += data
        elif self._inside == "" and self.links:
            href, after = self.links[-1]
            if len(after) < 200:  # date and size, not the rest of somebody's page
                self.links[-1] = href, after + data


async def parse_page(body: bytes, folder: str, location: str) -> Page | None:
    """What the directory page of ``folder`` shows, sorted; None where ``body`` is no such page.

    Only links to direct children count: parents, other hosts, sort links (``?C=N``) and deeper paths do not.
    """
    parser = _Links()
    text = body.decode("utf-8", "surrogateescape")
    for start in range(0, len(text), _CHARS_A_TURN):
        parser.feed(text[start : start + _CHARS_A_TURN])
        await asyncio.sleep(0)  # big pages take long: let other transfers go on
    parser.close()
    if not _LISTING_TITLE.search(parser.title):
        return None
    root = urlsplit(location)
    base = unquote_to_bytes(root.path) + folder.encode("utf-8", "surrogateescape")
    sizes: dict[str, int | None] = {}
    for href, after in parser.links:
        name = _child_name(href, base, f"{root.scheme}://{root.netloc}")
        if name is not None:
            match = _DATE_AND_SIZE.match(after)
            sizes[name] = int(match[1]) if match is not None else None
    return _page_of(sizes, folder)


def _page_of(sizes: Mapping[str, int | None], folder: str) -> Page:
    names = sorted(sizes, key=key_bytes)
    return Page(
        tuple(folder + name for name in names if name.endswith("/")),
        tuple(ObjectMeta(key=folder + name, size_bytes=sizes[name]) for name in names if not name.endswith("/")),
    )


def _child_name(href: str, base: bytes, origin: str) -> str | None:
    """A file's name, or a folder's with its slash; None for a link to anything but a child of ``base``."""
    path = href.strip().partition("#")[0]
    if not path or "?" in path:
        return None
    if path.startswith(origin + "/"):
        path = path[len(origin) :]
    if path.startswith("//") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        return None
    raw = unquote_to_bytes(path.encode("utf-8", "surrogateescape"))
    if path.startswith("/"):
        if not raw.startswith(base):
            return None
        raw = raw[len(base) :]
    elif path.startswith("./"):
        raw = raw[2:]
    name = raw.removesuffix(b"/")
    if not name or name in (b".", b"..") or b"/" in name:
        return None
    return raw.decode("utf-8", "surrogateescape")
