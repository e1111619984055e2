"""The one place where errors of aiohttp, of the socket and of TLS become ours, and statuses too."""

from __future__ import annotations

import errno
import os
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp

from aioloader.errors import (
    AccessDeniedError,
    ConnectFailedError,
    ObjectChangedError,
    ObjectNotFoundError,
    RangeNotHonouredError,
    RedirectRefusedError,
    RequestRefusedError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TLSRejectedError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.storage.hosts import PrivateAddressError

if TYPE_CHECKING:
    from aioloader.types import ByteRange


class NotHTTPError(OSError):
    """What came over the wire is not an answer."""


class NoRouteError(OSError):
    """No connection to ``host`` and ``port``; a ``lookup`` that failed gave no address to connect to."""

    def __init__(self, host: str, port: int, os_error: OSError, *, lookup: bool) -> None:
        super().__init__(os_error.errno, str(os_error))
        self.host = host
        self.port = port
        self.os_error = os_error
        self.lookup = lookup


FOREIGN_ERRORS = (aiohttp.ClientError, OSError)
"""What a request may raise besides our own errors; ``TimeoutError`` and ``ssl.SSLError`` are ``OSError``."""

_BROKE_OFF: Final = "Run again; if it stays, check the server's log, its load and the network."
_BY_STATUS_CLASS: Final = {
    4: "Check the address and the options of the store; the server's log says more.",
    5: "Run again later; if it stays, check the server's log.",
}
_TLS_ERRORS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientSSLError,
    ssl.SSLError,
)
# These print the whole address, query included, so they are not chained: a cause is printed in tracebacks.
_BAD_ADDRESSES = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)
_TELLTALES = (aiohttp.ClientResponseError, *_BAD_ADDRESSES)


def translate(exc: BaseException, shown: str, byte_range: ByteRange | None) -> StoreError:
    """Our error for ``exc``, one of `FOREIGN_ERRORS`; ``exc`` is its cause unless it would print secrets."""
    kind, reason, hint = _explain(exc)
    error = kind(reason, shown, hint, byte_range)
    if not isinstance(exc, _TELLTALES):
        error.__cause__ = exc
    error.__suppress_context__ = True
    return error


def _explain(exc: BaseException) -> tuple[type[StoreError], str, str]:
    inner = getattr(exc, "os_error", exc)
    if isinstance(inner, PrivateAddressError):
        return (
            RedirectRefusedError,
            f"the server redirects to {inner.host}, which is an address on an inner network",
            "Use the inner address itself if you trust it.",
        )
    if isinstance(exc, _TLS_ERRORS):
        why = getattr(exc, "certificate_error", inner)
        detail = getattr(why, "verify_message", "") or getattr(why, "reason", "") or type(why).__name__
        return (
            TLSRejectedError,
            f"the server's certificate or handshake was refused ({detail})",
            "Check the host's name and clock, or give its authority with ca_file=.",
        )
    if isinstance(exc, aiohttp.ClientConnectorDNSError) or (isinstance(exc, NoRouteError) and exc.lookup):
        return (
            ConnectFailedError,
            f"the host {exc.host} could not be looked up ({inner})",
            "Check the address.",
        )
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return ConnectFailedError, f"no connection to the proxy ({_os_words(inner)})", "Check proxy=."
    if isinstance(exc, aiohttp.ClientConnectorError | NoRouteError):
        if getattr(inner, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return (
                ConnectFailedError,
                "this process may not open more files",
                "Raise `ulimit -n` or lower concurrency.",
            )
        return (
            ConnectFailedError,
            f"no connection to {exc.host}:{exc.port} ({_os_words(inner)})",
            "Check that the server runs and that the address and port are right.",
        )
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return (
            ConnectFailedError,
            "no connection within connect_timeout_s",
            "Check the address and the firewall.",
        )
    if isinstance(exc, TimeoutError):
        return TransferStalledError, "no byte came within idle_timeout_s", "Check the server's load."
    if isinstance(exc, aiohttp.ClientPayloadError):
        return TruncatedBodyError, "the connection ended before the body did", _BROKE_OFF
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        if exc.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return AccessDeniedError, "the proxy wants credentials", "Put them into proxy=."
        return ConnectFailedError, f"the proxy answered {exc.status}", "Check proxy=."
    if isinstance(exc, aiohttp.ClientResponseError | NotHTTPError):
        return ServerFailedError, "the answer is not HTTP", "Check the address and port."
    if isinstance(exc, _BAD_ADDRESSES):
        return ConnectFailedError, "the address is not one that can be requested", "Check the address."
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return ServerFailedError, "the server closed the connection without an answer", _BROKE_OFF
    if isinstance(exc, OSError):
        return ServerFailedError, f"the connection broke ({_os_words(exc)})", _BROKE_OFF
    return ServerFailedError, f"the request failed ({type(exc).__name__})", "Check the address and the server's log."


def _os_words(exc: BaseException) -> str:
    code = getattr(exc, "errno", None)
    if isinstance(code, int) and code in errno.errorcode:
        return os.strerror(code)  # asyncio and uvloop word it differently
    return (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__).rstrip(".")


def changed(shown: str, byte_range: ByteRange | None, detail: str = "") -> ObjectChangedError:
    """The error for an object that was replaced since it was listed, or since its first bytes came."""
    return ObjectChangedError(f"the object is another one by now{detail}", shown, "List the dataset again.", byte_range)


def status_error(
    status: int, detail: str, shown: str, byte_range: ByteRange | None, retry_after_s: float | None = None
) -> StoreError:
    """Our error for an answer with ``status``; ``detail`` is the store's own code word, or empty."""
    error = _status_error(status, detail, shown, byte_range, retry_after_s)
    error.retry_after_s = retry_after_s
    return error


def _status_error(
    status: int, detail: str, shown: str, byte_range: ByteRange | None, retry_after_s: float | None
) -> StoreError:
    try:
        # The standard phrase: the server's own words may hold anything.
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    said = f"the server answered {words}" + (f" ({detail})" if detail else "")
    match status:
        case 404 | 410:
            return ObjectNotFoundError(said, shown, "Check the key, or list the dataset again.", byte_range)
        case 401 | 403 | 407:
            return AccessDeniedError(said, shown, "Check the credentials and their rights.", byte_range)
        case 412:
            return changed(shown, byte_range, f" ({words})")
        case 416:
            return RangeNotHonouredError(said, shown, "The range starts beyond the object's end.", byte_range)
        case 429 | 503:
            wait = "" if retry_after_s is None else f"; it asks to wait {retry_after_s:.0f} s"
            return ThrottledError(said + wait, shown, "Lower concurrency.", byte_range)
        case _:
            # 408 and 425 ask for another try; 501 and 505 say that the server never will.
            refuses = (400 <= status < 500 and status not in (408, 425)) or status in (501, 505)
            kind = RequestRefusedError if refuses else ServerFailedError
            error = kind(said, shown, _BY_STATUS_CLASS.get(status // 100, "Check the address and port."), byte_range)
            error.is_transient = status >= 400 and not refuses
            return error
