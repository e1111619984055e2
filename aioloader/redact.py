"""The one choke point for what may be printed of an address or a header."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

HIDDEN = "…"


def _redact_pair(pair: str) -> str:
    name, has_value, _ = pair.partition("=")
    # A part without "=" may itself be the token ("?sv2024..."): nothing of it is shown.
    return f"{name}={HIDDEN}" if has_value else HIDDEN


def redact_url(url: str | URL) -> str:
    """The address without user info and fragment, and with every query value replaced by ``…``.

    Names of query parameters stay: they say what kind of signature it was. An address that cannot be parsed
    gives ``"<unreadable address>"``, never its text.
    """
    try:
        parts = urlsplit(str(url))
        _ = parts.port  # raises where the port is no number
    except ValueError:
        return "<unreadable address>"
    network_location = parts.netloc.rpartition("@")[2]
    query = "&".join(_redact_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return f"{scheme}{network_location}{parts.path}{'?' + query if query else ''}"


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


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Header names with every value replaced by ``…``."""
    return dict.fromkeys(headers, HIDDEN)
