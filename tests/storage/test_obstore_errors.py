"""What obstore raises, and what becomes of it."""

from __future__ import annotations

import pickle
import traceback
import warnings
from dataclasses import dataclass

import pytest
from obstore import exceptions

from aioloader.errors import (
    AccessDeniedError,
    ConnectFailedError,
    ObjectChangedError,
    ObjectNotFoundError,
    RangeNotHonouredError,
    RequestRefusedError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TLSRejectedError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.storage.obstore.errors import translate, translated
from aioloader.storage.obstore.keys import is_faithful, split_at_empty_segment

ANSWER = "Generic S3 error: Error performing GET https://h/b?list-type=2 in 1ms - Server returned non-2xx status code: "
INNER = "Generic S3 error: HTTP error: error sending request\n\nDebug source:\nHttpError { kind: "


@dataclass(frozen=True)
class Case:
    id: str
    raised: Exception
    target: type[StoreError]
    says: str = ""


def generic(text: str) -> Exception:
    return exceptions.GenericError(text)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # obstore marks NotFoundError as deprecated; older versions raise it
    NOT_FOUND = exceptions.NotFoundError("x")

CASES = [
    Case("file not found", FileNotFoundError("x"), ObjectNotFoundError, "no such object"),
    Case("not found", NOT_FOUND, ObjectNotFoundError, "no such object"),
    Case("permission", exceptions.PermissionDeniedError("x"), AccessDeniedError, "anonymous=True"),
    Case("builtin permission", PermissionError("x"), AccessDeniedError, "anonymous=True"),
    Case("unauthenticated", exceptions.UnauthenticatedError("x"), AccessDeniedError, "credentials"),
    Case("precondition", exceptions.PreconditionError("x"), ObjectChangedError),
    Case("not modified", exceptions.NotModifiedError("x"), ObjectChangedError),
    Case("invalid path", exceptions.InvalidPathError("x"), StoreError, "empty, '.' or '..' segment"),
    Case("not supported", exceptions.NotSupportedError("x"), ServerFailedError),
    Case("already exists", exceptions.AlreadyExistsError("x"), ServerFailedError),
    Case("join", exceptions.JoinError("x"), ServerFailedError),
    Case("unknown key", exceptions.UnknownConfigurationKeyError("x"), ServerFailedError, "Update obstore"),
    Case("base", exceptions.BaseError("x"), ServerFailedError),
    Case(
        "generic 404", generic(ANSWER + "404 Not Found: <Code>NoSuchBucket</Code>"), ObjectNotFoundError, "NoSuchBucket"
    ),
    Case("generic 403", generic(ANSWER + "403 Forbidden: x"), AccessDeniedError),
    Case("generic 401", generic(ANSWER + "401 Unauthorized: x"), AccessDeniedError),
    Case("generic 400", generic(ANSWER + "400 Bad Request: x"), RequestRefusedError, "400"),
    Case("not partial", generic("Received non-partial response when range requested"), RangeNotHonouredError),
    Case("generic 412", generic(ANSWER + "412 Precondition Failed: x"), ObjectChangedError),
    Case("generic 416", generic(ANSWER + "416 Range Not Satisfiable: x"), RangeNotHonouredError),
    Case("generic 429", generic(ANSWER + "429 Too Many Requests: x"), ThrottledError),
    Case("generic 500", generic(ANSWER + "500 Internal: x"), ServerFailedError, "500"),
    Case("generic 503", generic(ANSWER + "503 Slow Down: <Code>SlowDown</Code>"), ThrottledError, "SlowDown"),
    Case("refused", generic(INNER + "Connect, ConnectionRefused }"), ConnectFailedError),
    Case("unknown host", generic(INNER + 'Connect, "dns error" }'), ConnectFailedError),
    Case("certificate", generic(INNER + "Connect, invalid peer certificate: UnknownIssuer }"), TLSRejectedError),
    Case("timeout", generic(INNER + "Timeout }"), TransferStalledError),
    Case("cut", generic(INNER + "Interrupted, IncompleteMessage }"), TruncatedBodyError),
    Case("range", generic("Wanted range starting at 9, but object was only 3 bytes"), RangeNotHonouredError),
    Case(
        "no credentials",
        generic("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token - status: 403"),
        AccessDeniedError,
        "no credentials were found",
    ),
    Case("anything else", RuntimeError("x"), ServerFailedError),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_foreign_error_has_its_target(case: Case) -> None:
    error = translate(case.raised, "s3://b/key", (0, 9))
    assert type(error) is case.target
    assert case.says in str(error)
    assert "s3://b/key bytes 0-9" in str(error)
    assert type(error.__cause__) is type(case.raised)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_every_exception_of_obstore_is_in_the_table() -> None:
    known = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, exceptions.BaseError)
    }
    assert known <= {type(case.raised).__name__ for case in CASES}


CANARY = (
    ANSWER + "400 Bad Request: <Error><Code>ExpiredToken</Code><Token-0>CANARY</Token-0></Error>\n\nDebug source:\n"
    'uri: https://h/b?X-Amz-Signature=CANARY, body: "<Token-0>CANARY</Token-0>"'
)


async def _fail() -> None:
    raise generic(CANARY.replace("?list-type=2", "?sig=CANARY"))


async def test_no_word_of_the_server_is_in_the_chain() -> None:
    with pytest.raises(RequestRefusedError, match="ExpiredToken") as caught:
        await translated(_fail(), "s3://b/key")
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert "status code: 400" in told
    assert "CANARY" not in told


@dataclass(frozen=True)
class KeyCase:
    key: str
    parts: tuple[str | None, str] | None


KEY_CASES = [
    KeyCase("a/b ü%20", (None, "a/b ü%20")),
    KeyCase("a//b", ("a/", "b")),
    KeyCase("a//b/c", ("a/", "b/c")),
    KeyCase("a///b", ("a//", "b")),
    KeyCase("/a", ("", "a")),
    KeyCase("//a", ("/", "a")),
    KeyCase("a/", ("a", "")),
    KeyCase("a//", ("a/", "")),
    KeyCase("/", ("", "")),
    KeyCase("a//b/", ("a//b", "")),
    KeyCase("a/../b", None),
    KeyCase(".", None),
    KeyCase("a\x00", None),
    KeyCase("..a/b..", (None, "..a/b..")),
]


@pytest.mark.parametrize("case", KEY_CASES, ids=lambda case: repr(case.key))
def test_a_key_is_split_where_obstore_would_change_it(case: KeyCase) -> None:
    parts = split_at_empty_segment(case.key)
    assert parts == case.parts
    if parts is not None:
        head, rest = parts
        assert case.key == (rest if head is None else f"{head}/{rest}")
        assert is_faithful(rest) or rest == ""
        assert is_faithful(case.key) == (head is None)
