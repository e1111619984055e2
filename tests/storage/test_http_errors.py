"""Every foreign error and its target: the one seam."""

from __future__ import annotations

import errno
import inspect
import socket
import ssl
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from aioloader.errors import (
    AccessDeniedError,
    ConnectFailedError,
    RedirectRefusedError,
    ServerFailedError,
    StoreError,
    TLSRejectedError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.storage.hosts import PrivateAddressError
from aioloader.storage.http.errors import FOREIGN_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET_URL = URL("https://host/a.bin?X-Amz-Signature=SECRET")
KEY = ConnectionKey("host", 443, True, True, None, None, None)
INFO = RequestInfo(SECRET_URL, "GET", CIMultiDictProxy(CIMultiDict()), SECRET_URL)
REFUSED = OSError(errno.ECONNREFUSED, "Connection refused")


@dataclass(frozen=True)
class Case:
    """One foreign error, its target, and a word of the message."""

    make: Callable[[], BaseException]
    target: type[StoreError]
    words: str

    @property
    def id(self) -> str:
        """The foreign class' name."""
        return type(self.make()).__name__


CASES = [
    Case(lambda: aiohttp.ClientConnectorError(KEY, REFUSED), ConnectFailedError, "host:443 (Connection refused)"),
    Case(lambda: aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "x")), ConnectFailedError, "ulimit -n"),
    Case(lambda: aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown")), ConnectFailedError, "host"),
    Case(lambda: aiohttp.ClientConnectorDNSError(KEY, PrivateAddressError("evil")), RedirectRefusedError, "evil"),
    Case(lambda: PrivateAddressError("10.0.0.1"), RedirectRefusedError, "10.0.0.1"),
    Case(lambda: aiohttp.ClientProxyConnectionError(KEY, REFUSED), ConnectFailedError, "proxy"),
    Case(
        lambda: aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("x")),
        TLSRejectedError,
        "certificate",
    ),
    Case(lambda: aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "x")), TLSRejectedError, "handshake"),
    Case(lambda: aiohttp.ClientSSLError(KEY, ssl.SSLError(1, "x")), TLSRejectedError, "handshake"),
    Case(lambda: aiohttp.ServerFingerprintMismatch(b"a", b"b", "host", 443), ServerFailedError, "failed"),
    Case(lambda: ssl.SSLError(1, "wrong version"), TLSRejectedError, "handshake"),
    Case(lambda: aiohttp.ConnectionTimeoutError("x"), ConnectFailedError, "connect_timeout_s"),
    Case(lambda: aiohttp.SocketTimeoutError("x"), TransferStalledError, "idle_timeout_s"),
    Case(lambda: aiohttp.ServerTimeoutError("x"), TransferStalledError, "idle_timeout_s"),
    Case(lambda: TimeoutError("x"), TransferStalledError, "idle_timeout_s"),
    Case(lambda: aiohttp.ClientPayloadError("x"), TruncatedBodyError, "before the body did"),
    Case(lambda: aiohttp.ServerDisconnectedError("x"), ServerFailedError, "without an answer"),
    Case(lambda: aiohttp.ServerConnectionError("x"), ServerFailedError, "failed"),
    Case(lambda: aiohttp.ClientOSError(errno.ECONNRESET, "x"), ServerFailedError, "Connection reset by peer"),
    Case(lambda: aiohttp.ClientConnectionResetError("closing"), ServerFailedError, "broke"),
    Case(lambda: ConnectionResetError(errno.ECONNRESET, "x"), ServerFailedError, "Connection reset by peer"),
    Case(lambda: aiohttp.ClientConnectionError("x"), ServerFailedError, "failed"),
    Case(lambda: aiohttp.ClientResponseError(INFO, (), status=400), ServerFailedError, "not HTTP"),
    Case(lambda: aiohttp.ContentTypeError(INFO, ()), ServerFailedError, "not HTTP"),
    Case(lambda: aiohttp.ClientHttpProxyError(INFO, (), status=407), AccessDeniedError, "proxy="),
    Case(lambda: aiohttp.ClientHttpProxyError(INFO, (), status=502), ConnectFailedError, "502"),
    Case(lambda: aiohttp.InvalidURL(SECRET_URL), ConnectFailedError, "address"),
    Case(lambda: aiohttp.InvalidUrlClientError(SECRET_URL), ConnectFailedError, "address"),
    Case(lambda: aiohttp.NonHttpUrlClientError(SECRET_URL), ConnectFailedError, "address"),
    Case(lambda: aiohttp.ClientError("x"), ServerFailedError, "ClientError"),
]

# Raised by parts of aiohttp that are not used: its own redirects, websockets, uploads.
UNUSED = {
    "ClientConnectionError",
    "InvalidUrlRedirectClientError",
    "NonHttpUrlRedirectClientError",
    "RedirectClientError",
    "TooManyRedirects",
    "UploadAbortedError",
    "WSMessageTypeError",
    "WSServerHandshakeError",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_foreign_error_has_one_target(case: Case) -> None:
    foreign = case.make()
    assert isinstance(foreign, FOREIGN_ERRORS)
    error = translate(foreign, "https://host/a.bin", (0, 5))
    assert type(error) is case.target
    assert case.words in str(error)
    assert (error.key, error.byte_range) == ("https://host/a.bin", (0, 5))
    assert "SECRET" not in "".join(traceback.format_exception(error))


def test_every_error_of_aiohttp_is_in_the_table() -> None:
    known = {type(case.make()).__name__ for case in CASES} | UNUSED
    theirs = {
        name
        for name, thing in inspect.getmembers(aiohttp)
        if inspect.isclass(thing) and issubclass(thing, aiohttp.ClientError)
    }
    missing = theirs - known
    assert not missing
