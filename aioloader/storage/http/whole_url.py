"""One object by its own address, sent as it was written: presigned URLs, manifests, rows of manifests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yarl import URL

from aioloader.errors import OptionError
from aioloader.redact import redact_url
from aioloader.storage.http.options import require_private_channel
from aioloader.storage.http.root import HTTPRoot

if TYPE_CHECKING:
    from aioloader.storage.http.options import HTTPOptions


@dataclass(frozen=True, kw_only=True)
class WholeURL:
    """An ``http(s)`` address: what is requested, what is sent along, and ``shown``, which may be printed."""

    url: URL = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    shown: str

    @classmethod
    def parse(cls, text: str) -> WholeURL:
        """Take an address apart. A signature covers its spelling, so valid ASCII stays as it is.

        Raises `OptionError`, without the secrets of ``text``.
        """
        root = HTTPRoot.parse(text)  # checks it, and turns user info into a header
        written = text.strip()
        try:
            # Spaces and other letters than ASCII cannot be part of a signed spelling: yarl escapes them.
            url = URL(written, encoded=written.isascii() and " " not in written)
            url = url.with_user(None) if url.raw_user is not None or url.raw_password is not None else url
        except ValueError:
            raise OptionError("url", repr(redact_url(text)), "an address that can be requested") from None
        return cls(url=url, headers=root.headers, shown=redact_url(url))

    def require_private_channel(self, options: HTTPOptions, *, with_options_headers: bool) -> None:
        """Raise `OptionError` if its secrets, or those of ``options``, would cross a network in the clear."""
        names = [*self.headers, *(options.header_names() if with_options_headers else [])]
        require_private_channel(self.url, option="url", header_names=names, proxy=options.proxy)
