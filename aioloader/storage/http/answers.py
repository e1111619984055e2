"""What an answer holds: whether its bytes are the ones asked for, all of them, and not too many."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from aioloader.errors import (
    AccessDeniedError,
    BodyTooLargeError,
    RangeNotHonouredError,
    RequestRefusedError,
    StoreError,
    TruncatedBodyError,
)
from aioloader.storage.clock_skew import ahead_by_date
from aioloader.storage.http.errors import changed, status_error
from aioloader.storage.pins import is_another
from aioloader.types import Partial

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.storage.http.transport import Answer, Body
    from aioloader.types import ByteRange

MAX_ERROR_BODY_BYTES: Final = 16384
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")


async def body_of(
    answer: Answer,
    shown: str,
    byte_range: ByteRange | None,
    max_object_bytes: int,
    parts: list[bytes],
    count: Callable[[int], object],
) -> bytes:
    """The body of an answer to a GET, checked against what was asked for. Raises `StoreError`.

    ``parts`` holds what came where a body of announced length breaks off; of other bodies ``count`` is told how many
    bytes came.
    """
    if answer.status == 206 and byte_range is not None:
        wanted = _check_content_range(answer, shown, byte_range)
        body = await _read(answer, shown, byte_range, wanted, max_object_bytes, parts, count)
        if len(body) != wanted:
            raise _truncated(len(body), wanted, shown, byte_range)
        return body
    if answer.status == 200:
        if byte_range is None:
            return await _read(answer, shown, None, None, max_object_bytes, parts, count)
        if byte_range[0] == 0:
            # The server ignores ranges, but the whole begins with what was asked for.
            return await _read(answer, shown, byte_range, byte_range[1], max_object_bytes, parts, count)
        raise RangeNotHonouredError(
            "the server sent the whole object instead of the range",
            shown,
            "It does not support range requests; read whole objects.",
            byte_range,
        )
    if answer.status == 416 and byte_range is not None and byte_range[0] == _total_of(answer) == 0:
        return b""  # the first bytes of an empty object
    raise await refusal(answer, shown, byte_range)


async def total_of(answer: Answer, shown: str) -> int:
    """The object's length in bytes from the answer to a GET of its first byte. Raises `StoreError`."""
    total = _total_of(answer)
    if total is not None and (answer.status == 206 or (answer.status == 416 and total == 0)):
        await drain_small(answer)
        return total
    if answer.status == 200:
        length = announced_length(answer)
        if length is not None:
            return length
    if answer.status < 400:
        raise RequestRefusedError(
            "the server does not tell the object's length", shown, "Make it send Content-Length or Content-Range."
        )
    raise await refusal(answer, shown, None)


def check_same(answer: Answer, etag: str, shown: str, byte_range: ByteRange | None, *, is_rest: bool) -> None:
    """Raise where what came is not of the object that ``etag`` names: not every server looks at If-Match.

    ``is_rest``: it is to be joined to what came before, so an answer must say that it is of the same object.
    """
    if answer.status not in (200, 206):
        return
    found = answer.headers.get("ETag", "").strip()
    if is_another(found, etag):
        raise changed(shown, byte_range)
    if is_rest and answer.status == 206 and found != etag:
        raise RangeNotHonouredError(
            "the server does not say of which object the range is", shown, "Make it send ETag.", byte_range
        )


def what_came(answer: Answer, byte_range: ByteRange | None, parts: list[bytes]) -> Partial | None:
    """The first ``parts`` of a body that broke off, if the rest can be asked for; by a weak ETag it cannot, and not
    of a part that announces another length than its range has."""
    etag, length = answer.headers.get("ETag", "").strip(), answer.content_length
    if (
        not parts
        or length is None
        or sum(map(len, parts)) >= length
        or len(etag) < 3
        or not etag.startswith('"')
        or answer.status not in (200, 206)
    ):
        return None
    if answer.status == 200:
        return Partial(b"".join(parts), 0, length, etag)
    if byte_range is None or length != _extent_of(answer, byte_range):
        return None
    return Partial(b"".join(parts), byte_range[0], byte_range[0] + length, etag)


def announced_length(answer: Answer) -> int | None:
    """Content-Length, where it is that of the object itself and not of an encoding of it."""
    return None if _is_encoded(answer) else answer.content_length


async def drain_small(answer: Answer) -> bytes:
    """A short body of an answer that is not data, read so that its connection can be used again."""
    length = answer.content_length
    if length is None or length > MAX_ERROR_BODY_BYTES:
        return await answer.content.read(MAX_ERROR_BODY_BYTES)
    return await answer.content.read()


async def refusal(answer: Answer, shown: str, byte_range: ByteRange | None) -> StoreError:
    """The error for an answer that is no success, with the store's own code word where it sent one."""
    # S3's error page holds the key id and the string to sign: only its code word is taken.
    code = _ERROR_CODE.search(await drain_small(answer))
    detail = code[1].decode("ascii") if code is not None else ""
    error = status_error(answer.status, detail, shown, byte_range, retry_after_s(answer))
    if isinstance(error, AccessDeniedError):
        error.clock_ahead_s = ahead_by_date(answer.headers.get("Date", ""))
    return error


def retry_after_s(answer: Answer) -> float | None:
    """How long the server asks to wait: in seconds, or until a date by its own clock."""
    said = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", said):
        return float(said)
    try:
        until = parsedate_to_datetime(said)
        now = parsedate_to_datetime(answer.headers.get("Date", ""))  # the server's: ours may be wrong
        return max((until - now).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


async def _read(
    answer: Answer,
    shown: str,
    byte_range: ByteRange | None,
    enough_bytes: int | None,
    max_object_bytes: int,
    parts: list[bytes],
    count: Callable[[int], object],
) -> bytes:
    """The body, at most ``enough_bytes`` of it; a longer rest is left, and the connection with it."""
    if _is_encoded(answer):
        raise RequestRefusedError(
            f"the body came with Content-Encoding {answer.headers.get('Content-Encoding', '')[:40]!r}",
            shown,
            "aioloader asks for identity and never decompresses; store the object as it is to be read.",
            byte_range,
        )
    length = answer.content_length
    if length is None and "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
        error = TruncatedBodyError(
            "the answer has neither a length nor chunks, so its end cannot be told from a cut",
            shown,
            "Make the server send Content-Length.",
            byte_range,
        )
        error.is_transient = False
        raise error
    if length is not None:
        coming = length if enough_bytes is None else min(length, enough_bytes)
        if coming > max_object_bytes:
            raise _too_large(f"the object has {coming} bytes", max_object_bytes, shown, byte_range)
        if coming == length:
            await _read_into(answer.content, parts)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            if len(body) != length:
                raise _truncated(len(body), length, shown, byte_range)
            return body
    body_so_far = bytearray()
    async for chunk in answer.content.iter_any():
        body_so_far += chunk
        count(len(chunk))
        if enough_bytes is not None and len(body_so_far) >= enough_bytes:
            del body_so_far[enough_bytes:]
            break
        if len(body_so_far) > max_object_bytes:
            what = f"the object has more than {max_object_bytes} bytes"
            raise _too_large(what, max_object_bytes, shown, byte_range)
    return bytes(body_so_far)


async def _read_into(content: Body, parts: list[bytes]) -> None:
    """All of the body, piece by piece, so that what came is there where it breaks off."""
    at_once = getattr(content, "read_into", None)
    if at_once is not None:
        await at_once(parts)
        return
    async for piece in content.iter_any():
        parts.append(piece)  # noqa: PERF401 - of a comprehension nothing would be there where it breaks off


def _is_encoded(answer: Answer) -> bool:
    encoding = answer.headers.get("Content-Encoding", "")
    return bool(encoding) and encoding.strip().lower() not in ("", "identity")


def _total_of(answer: Answer) -> int | None:
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    return int(match[3]) if match is not None and match[3] != "*" else None


def _check_content_range(answer: Answer, shown: str, byte_range: ByteRange) -> int:
    """How many bytes the 206 holds, after checking that they are the ones asked for."""
    extent = _extent_of(answer, byte_range)
    if extent is not None:
        return extent
    said = answer.headers.get("Content-Range", "")
    raise RangeNotHonouredError(
        f"the server sent Content-Range {said[:80]!r}", shown, "Other bytes came than asked for.", byte_range
    )


def _extent_of(answer: Answer, byte_range: ByteRange) -> int | None:
    """How many bytes Content-Range tells of; None where they are not the ones asked for."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if match is None or match[1] is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    expected_last = byte_range[1] - 1 if total is None else min(byte_range[1], total) - 1
    return last - first + 1 if first == byte_range[0] and last == expected_last else None


def _truncated(got: int, announced: int, shown: str, byte_range: ByteRange | None) -> TruncatedBodyError:
    hint = "Run again; if it stays, the server or a proxy cuts the body: check its log."
    return TruncatedBodyError(f"the body has {got} of {announced} announced bytes", shown, hint, byte_range)


def _too_large(what: str, limit: int, shown: str, byte_range: ByteRange | None) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"{what}, max_object_bytes is {limit}", shown, "Raise it or leave the object out.", byte_range
    )
