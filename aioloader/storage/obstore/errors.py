"""The one place where what obstore raises becomes an error of ours.

obstore's messages quote the server's answer, and some answers quote the session token: of a message only the
status, the S3 code and the kind of failure are kept. What is chained as the cause is a copy cut the same way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from aioloader.errors import (
    AccessDeniedError,
    ConnectFailedError,
    ObjectChangedError,
    ObjectNotFoundError,
    RangeNotHonouredError,
    ServerFailedError,
    StoreError,
    TLSRejectedError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.storage.clock_skew import ahead_by_body

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aioloader.types import ByteRange

NO_CREDENTIALS: Final = "no credentials were found"

T = TypeVar("T")

_STATUS = re.compile(r"status code: (\d{3})|status: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9._-]{1,64})</Code>")
_METADATA_SERVICE = re.compile(r"169\.254\.\d+\.\d+|metadata\.google\.internal|/computeMetadata/v1/instance/")

CREDENTIALS_HINT: Final = (
    "Check which credentials the environment or profile gives, and what they may read; "
    "anonymous=True reads a public bucket without any."
)

_LIST_AGAIN: Final = "Check the key, or list the dataset again."
_RUN_AGAIN: Final = "Run again; if it stays, check the store's state and the network."

_BY_CLASS: Final[dict[str, tuple[type[StoreError], str, str]]] = {
    "FileNotFoundError": (ObjectNotFoundError, "the store has no such object", _LIST_AGAIN),
    "NotFoundError": (ObjectNotFoundError, "the store has no such object", _LIST_AGAIN),
    "PermissionDeniedError": (AccessDeniedError, "the store refused access", CREDENTIALS_HINT),
    "PermissionError": (AccessDeniedError, "the store refused access", CREDENTIALS_HINT),
    "UnauthenticatedError": (AccessDeniedError, "the store did not accept the credentials", CREDENTIALS_HINT),
    "PreconditionError": (
        ObjectChangedError,
        "the object is no longer the one that was listed",
        "List the dataset again.",
    ),
    "NotModifiedError": (ObjectChangedError, "the store says the object was not modified", "List the dataset again."),
    "InvalidPathError": (
        StoreError,
        "a key has an empty, '.' or '..' segment, which obstore cannot list or address",
        "Rename that object, or point the URL at a folder without such keys.",
    ),
    "NotSupportedError": (
        ServerFailedError,
        "the store does not support this operation",
        "Check that the endpoint speaks this API.",
    ),
    "AlreadyExistsError": (ServerFailedError, "the store says the object already exists", _RUN_AGAIN),
    "JoinError": (ServerFailedError, "obstore's own task broke off", _RUN_AGAIN),
    "UnknownConfigurationKeyError": (
        ServerFailedError,
        "this version of obstore does not know an option that was passed to it",
        "Update obstore.",
    ),
}


def _generic_failure(text: str) -> tuple[type[StoreError], str, str]:
    """What a ``GenericError`` is, read from its text: obstore gives no other field."""
    if _METADATA_SERVICE.search(text):
        return (
            AccessDeniedError,
            f"{NO_CREDENTIALS}: none in the options, the environment or a profile, and the machine's "
            "metadata service gave none",
            CREDENTIALS_HINT,
        )
    if re.search(r"certificate|UnknownIssuer|InvalidCertificate|HandshakeFailure|AlertReceived", text):
        return TLSRejectedError, "the certificate or the handshake was refused", "Check ca_file=."
    if "kind: Connect" in text or "dns error" in text:
        return ConnectFailedError, "no connection to the store", "Check the endpoint and the network."
    if re.search(r"kind: Timeout|TimedOut|timed out", text):
        return TransferStalledError, "no answer within the deadline", "Check the store's load, or raise idle_timeout_s."
    if re.search(r"kind: (Interrupted|Decode)|IncompleteMessage|UnexpectedEof|end of file before", text):
        return TruncatedBodyError, "the connection broke before the whole answer was there", _RUN_AGAIN
    if re.search(r"NotPartial|UnexpectedRange|non-partial response", text):
        return RangeNotHonouredError, "other bytes came than the range that was asked for", "Read whole objects."
    if re.search(r"Wanted range starting at|InvalidRange|InvalidGetRange", text):
        return RangeNotHonouredError, "the range lies outside the object", "Check the range, or list the dataset again."
    return ServerFailedError, "the store's answer could not be used", "Check that endpoint= is this kind of store."


def _scrubbed(exc: BaseException) -> BaseException:
    """A copy of ``exc`` for the chain: its class and first line, without the server's words."""
    first_line = str(exc).partition("\n")[0].partition(": <")[0]
    words = [word if "?" not in word else word.partition("?")[0] + "?…" for word in first_line.split(" ")]
    try:
        copy = type(exc)(" ".join(words))
    except Exception:  # a class with another constructor: the text still tells its name
        copy = RuntimeError(f"{type(exc).__name__}: {' '.join(words)}")
    return copy


def translate(exc: BaseException, shown: str, byte_range: ByteRange | None = None) -> StoreError:
    """The error of ours for ``exc``, which obstore raised about the printable location ``shown``."""
    # Imported here: aiohttp takes 0.1 s, and only a failure needs it.
    from aioloader.storage.http.errors import status_error

    text = str(exc)
    status, code = _STATUS.search(text), _CODE.search(text)
    known = _BY_CLASS.get(type(exc).__name__)
    if known is None and status is not None and not _METADATA_SERVICE.search(text):
        error = status_error(int(status[1] or status[2]), code[1] if code else "", shown, byte_range)
    else:
        target, reason, hint = known or _generic_failure(text)
        error = target(f"{reason} ({code[1]})" if code else reason, shown, hint, byte_range)
    if isinstance(error, AccessDeniedError):
        error.clock_ahead_s = ahead_by_body(text)
    error.__cause__ = _scrubbed(exc)
    return error


async def translated(awaitable: Awaitable[T], shown: str, byte_range: ByteRange | None = None) -> T:
    """Await a call of obstore's; what it raises is translated. Cancelling drops the request."""
    try:
        return await awaitable
    except Exception as exc:
        failure = translate(exc, shown, byte_range)
    # Outside the handler: __context__ would keep the unscrubbed original alive.
    raise failure
