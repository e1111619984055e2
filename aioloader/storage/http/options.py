"""How to connect to web servers: one frozen, validated record, and the rule for secrets over plain HTTP."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from aioloader.errors import OptionError
from aioloader.redact import redact_url
from aioloader.storage.hosts import is_loopback_host

if TYPE_CHECKING:
    from yarl import URL

Headers: TypeAlias = Mapping[str, str]
HeaderSource: TypeAlias = Headers | Callable[[], Headers] | None

MAX_CONNECTIONS: Final = 1024
CONNECT_TIMEOUT_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 10.0
FLOOR_BYTES_PER_S: Final = 4096
FLOOR_WINDOW_S: Final = 15.0
MAX_OBJECT_BYTES: Final = 1 << 30
TRANSPORT: Final = "auto"
TRANSPORTS: Final = ("auto", "aiohttp", "fast")

_PAGE_TIMEOUTS: Final = 12

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Set by the fetcher: another value would give other bytes than the ones asked for.
_OURS = {"accept-encoding", "connection", "content-length", "range", "transfer-encoding"}
_HARMLESS = {"accept", "accept-language", "if-match", "if-none-match", "user-agent"}
_SECRET_NAME = re.compile(r"auth|credential|key|passw|secret|sig|token", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, repr=False)
class HTTPOptions:
    """Options of every request of one store.

    ``headers`` is a mapping or a function that returns one; the function is called for each request, on the event
    loop, so it must be quick; it is called once more, for all requests at once, where the server refuses what it
    gave (401, 403). Where it raises, what it gave before is sent. ``proxy`` is ``"env"`` (``HTTP_PROXY``,
    ``HTTPS_PROXY``, ``NO_PROXY``; loopback is never proxied), an address, or None. ``ca_file`` (PEM) is trusted
    besides the system's authorities; certificates are always verified. ``max_connections`` bounds the pool of one
    event loop. ``connect_timeout_s`` covers name look-up, connection and handshake each; ``idle_timeout_s`` the
    wait for the first byte and between bytes; a transfer that moves less than ``floor_bytes_per_s`` for
    ``floor_window_s`` is given up (unless the line is narrow for all of them). Larger objects than
    ``max_object_bytes`` are refused. ``transport`` is ``"aiohttp"``; ``"fast"``, a client of our own that costs 0.4
    of the CPU and keeps the same promises, over httptools, which the extra ``aioloader[fast]`` brings; or
    ``"auto"``, the fast one where httptools is installed. Bytes and errors are the same by either, proxies are left
    to aiohttp by both.

    Raises `OptionError`.
    """

    headers: HeaderSource = None
    proxy: str | None = "env"
    ca_file: str | Path | None = None
    max_connections: int = MAX_CONNECTIONS
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    floor_bytes_per_s: int = FLOOR_BYTES_PER_S
    floor_window_s: float = FLOOR_WINDOW_S
    max_object_bytes: int = MAX_OBJECT_BYTES
    transport: str = TRANSPORT

    def __post_init__(self) -> None:
        if self.headers is not None and not callable(self.headers):
            check_headers(self.headers)
        if self.proxy is not None and self.proxy != "env":
            _check_proxy(self.proxy)
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise OptionError("ca_file", repr(str(self.ca_file)), "a file with PEM certificates")
        for name in ("max_connections", "max_object_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(name, repr(value), "a whole number of at least 1")
        if type(self.floor_bytes_per_s) is not int or self.floor_bytes_per_s < 0:
            raise OptionError("floor_bytes_per_s", repr(self.floor_bytes_per_s), "a whole number of at least 0")
        for name in ("connect_timeout_s", "idle_timeout_s", "floor_window_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise OptionError(name, repr(value), "a number of seconds above 0")
        if self.transport not in TRANSPORTS:
            raise OptionError("transport", repr(self.transport), f"one of {', '.join(map(repr, TRANSPORTS))}")
        if self.transport == "fast" and not _has_httptools():
            raise OptionError("transport", "'fast' without httptools", "`pip install 'aioloader[fast]'` first")

    @property
    def page_timeout_s(self) -> float:
        """The wait for one page of a bucket's listing, which may take a service many answers to fill."""
        return _PAGE_TIMEOUTS * self.idle_timeout_s

    @property
    def client(self) -> str:
        """The transport that is used: ``"aiohttp"`` or ``"fast"``."""
        if self.transport == "auto":
            return "fast" if _has_httptools() else "aiohttp"
        return self.transport

    def current_headers(self) -> dict[str, str]:
        """The user's headers for one request."""
        if self.headers is None:
            return {}
        if not callable(self.headers):
            return dict(self.headers)
        headers = self.headers()
        check_headers(headers)
        return dict(headers)

    def header_names(self) -> list[str]:
        """The names of the user's headers; a function's are unknown and taken for credentials."""
        if self.headers is None:
            return []
        return ["authorization"] if callable(self.headers) else list(self.headers)

    def describe(self) -> str:
        """Names of the options in use, without a value of any header."""
        parts = []
        if callable(self.headers):
            parts.append("headers=<function>")
        elif self.headers:
            parts.append(f"headers={sorted(self.headers)}")
        if self.proxy not in (None, "env"):
            parts.append(f"proxy={redact_url(self.proxy or '')!r}")
        if self.ca_file is not None:
            parts.append(f"ca_file={str(self.ca_file)!r}")
        if self.transport != TRANSPORT:
            parts.append(f"transport={self.transport!r}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"HTTPOptions({self.describe()})"


def _has_httptools() -> bool:
    return importlib.util.find_spec("httptools") is not None


def check_headers(headers: object) -> None:
    """Raise `OptionError` unless ``headers`` are names and values that can be sent; no value is printed."""
    if not isinstance(headers, Mapping):
        raise OptionError("headers", f"a {type(headers).__name__}", "a mapping of header names to values")
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise OptionError("headers", f"the name {name!r}", "names such as 'Authorization'")
        if not isinstance(value, str) or _CONTROL.search(value):
            raise OptionError("headers", f"a value of {name!r}", "text without line breaks")
        if name.lower() in _OURS:
            raise OptionError("headers", f"the name {name!r}", "a header that aioloader does not set itself")


def _check_proxy(proxy: object) -> None:
    expected = "'env', None or an address such as 'http://proxy:3128'"
    if not isinstance(proxy, str):
        raise OptionError("proxy", f"a {type(proxy).__name__}", expected)
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise OptionError("proxy", repr(redact_url(proxy)), expected)


def require_private_channel(url: URL, *, option: str, header_names: Iterable[str], proxy: str | None) -> None:
    """Raise `OptionError` if credentials would cross a network in the clear.

    Plain ``http://`` is fine without credentials, and to this machine. Headers are credentials but for a few
    harmless ones, and so are user info and query parameters of ``url`` that look like signatures.
    """
    if url.scheme != "http":
        return
    secret_headers = any(name.lower() not in _HARMLESS for name in header_names)
    if not secret_headers and url.raw_user is None and not has_secret_query(url):
        return
    proxied_away = proxy not in (None, "env") and not is_loopback_host(urlsplit(proxy).hostname or "")
    if not proxied_away and is_loopback_host(url.host or ""):
        return
    raise OptionError(
        option,
        repr(redact_url(url)),
        "https://, because headers, user info and signed queries are secrets and plain http:// shows them to "
        "everybody on the way; without them, or to this machine, http:// works",
    )


def has_secret_query(url: URL) -> bool:
    """Whether a query parameter's name looks like a signature, a token or a key."""
    return bool(url.raw_query_string) and any(_SECRET_NAME.search(name) for name in url.query)
