"""An address the user typed, taken apart: what is fetched below it, what is sent, what may be printed."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from yarl import URL

from aioloader.errors import ObjectNotFoundError, OptionError
from aioloader.redact import printable_key, redact_url

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Nothing to escape and no segment that begins with a dot: as most keys are.
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*")


def origin_of(url: URL) -> str:
    """``scheme://host:port``: what shares limits."""
    return f"{url.scheme}://{url.host_subcomponent}:{url.port}"


@dataclass(frozen=True, kw_only=True)
class HTTPRoot:
    """The root of a store: ``location`` (printable, ends with ``/``), and what only requests may see.

    ``query`` is kept as typed and goes with every request; ``headers`` hold user info as Basic authorisation.
    """

    location: str
    origin: str
    query: str = field(default="", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> HTTPRoot:
        """The root that ``url`` names. Raises `OptionError`, without the secrets of ``url``."""

        def unusable(expected: str) -> OptionError:
            return OptionError("url", repr(redact_url(url)), expected)

        if _CONTROL.search(url):
            raise unusable("an address without control characters")
        address, _, query = url.partition("?")
        if "#" in url:
            raise unusable("an address without '#'; write %23 where it belongs to a name")
        try:
            parsed = URL(address)
            usable = parsed.scheme in ("http", "https") and bool(parsed.host) and parsed.port is not None
        except ValueError:
            usable, parsed = False, URL()
        if not usable:
            raise unusable("an address such as 'https://host/train/'")
        if "@" in address and parsed.raw_user is None and "@" not in redact_url(address):
            # "https://bob:12/34@host": it would ask the host "bob", and print the rest of the password.
            raise unusable("an address with the '@' of a path as %40, and '/' and '@' of a password as %2F and %40")
        headers = {}
        if parsed.raw_user is not None or parsed.raw_password is not None:
            pair = f"{parsed.user or ''}:{parsed.password or ''}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        path = parsed.raw_path if parsed.raw_path.endswith("/") else parsed.raw_path + "/"
        return cls(
            location=f"{parsed.origin()}{path}",
            origin=origin_of(parsed),
            query=query.replace(" ", "%20"),
            headers=headers,
        )

    def shown(self, key: str) -> str:
        """What errors call the object."""
        return self.location + printable_key(key)

    def url(self, key: str) -> URL:
        """The address of exactly ``key``; the empty key is the root itself.

        Raises `ObjectNotFoundError` for a key that HTTP cannot carry unchanged.
        """
        if _PLAIN_KEY.fullmatch(key) and not self.query:
            # 1 of the 60 us that a GET of 64 KiB costs, against 3 of the long way.
            return self._base.with_path(self._base.raw_path + key, encoded=True)
        if _CONTROL.search(key):
            raise self._unspeakable(key, "a control character")
        if any(segment in (".", "..") for segment in key.split("/")):
            # Clients, proxies and servers resolve them, escaped or not: another object would come.
            raise self._unspeakable(key, "a '.' or '..' segment")
        try:
            path = quote(key, safe="/~", errors="surrogateescape")  # undecodable bytes go as they were
        except UnicodeEncodeError as exc:
            raise self._unspeakable(key, "a half of a character") from exc
        return URL(f"{self.location}{path}{'?' if self.query else ''}{self.query}", encoded=True)

    @cached_property
    def _base(self) -> URL:
        return URL(self.location, encoded=True)

    def _unspeakable(self, key: str, what: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(
            f"a key with {what} cannot be requested over HTTP", self.shown(key), "Rename the object."
        )
