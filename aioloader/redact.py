"""The one choke point for what may be printed of an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from yarl import URL

HIDDEN = "…"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|localhost|[^:@]*\.[^:@]*):[0-9]+")


def _redact_pair(pair: str) -> str:
    name, has_value, _ = pair.partition("=")
    # A part without "=" may itself be the token ("?sv2024..."): nothing of it is shown.
    return f"{name}={HIDDEN}" if has_value else HIDDEN


def redact_url(url: str | URL) -> str:
    """The address without user info and fragment, and with every query value replaced by ``…``.

    Names of query parameters stay: they say what kind of signature it was. User info goes with and without a
    scheme (``bob:secret@proxy:3128``), and where its password holds a slash. An address that cannot be parsed
    gives ``"<unreadable address>"``, never its text.
    """
    scheme, separator, rest = str(url).strip().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        scheme, separator, rest = "", "", str(url).strip()
    if scheme.lower() != "file":
        bare = rest.lstrip("/")  # in "https:///bob:secret@host" too
        separator, rest = separator + rest[: len(rest) - len(bare)], bare
    address, _, query = rest.partition("?")
    shown = _without_user_info(address).partition("#")[0]
    query = "&".join(map(_redact_pair, query.partition("#")[0].split("&"))) if query else ""
    shown = f"{scheme.lower()}{separator}{shown}"
    try:
        _ = urlsplit(shown).port  # raises where the port is no number
    except ValueError:
        return "<unreadable address>"
    return f"{shown}{'?' + query if query else ''}"


def _without_user_info(address: str) -> str:
    authority, slash, path = address.partition("/")
    if ":" in authority and "@" in path and not _HOST_AND_PORT.fullmatch(authority):
        # "bob:12/34@host": a password that was not escaped. Only "host.name:80/a@2x.png" is surely none.
        return address.rpartition("@")[2]
    return authority.rpartition("@")[2] + slash + path


def printable_key(key: str) -> str:
    """The key with control characters and undecodable bytes escaped, so that no log line can be forged."""
    if key.isprintable():
        return key
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in key
    )


def shown_key(key: str) -> str:
    """A sample's key as messages and ledgers may show it: an absolute URL without its secrets, printable."""
    return printable_key(redact_url(key) if "://" in key else key)
