"""An answer as bytes: the header and the body that a request gets, right or wrong."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from hashlib import md5
from typing import Final

HUGE_BYTES: Final = 4 << 30
_BOMB_BYTES: Final = 1 << 30
_BOUNDARY: Final = "a-boundary"
_FIRST_WRITTEN: Final = "Wed, 01 Jan 2025 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Framed:
    """What is sent: ``head`` and then ``body``."""

    head: bytes
    body: bytes


def etag_of(whole: bytes, kind: str) -> str:
    """The object's ETag, ``kind`` being ``"strong"``, ``"weak"`` or ``"none"``."""
    if kind == "none":
        return ""
    return ("W/" if kind == "weak" else "") + f'"{md5(whole, usedforsecurity=False).hexdigest()}"'


def framed(whole: bytes, etag: str, asked: str, kind: str) -> Framed:
    """The answer to a GET of ``whole`` with the header ``Range: asked``, spoilt as ``kind`` says."""
    head = [f"Date: {formatdate(usegmt=True)}", f"Last-Modified: {_FIRST_WRITTEN}"]
    if etag:
        head.append(f"ETag: {etag}")
    body, status = whole, "200 OK"
    if asked and kind != "ignored range":
        begin, _, end = asked.removeprefix("bytes=").partition("-")
        first, last = int(begin), min(int(end or len(whole)), len(whole) - 1)
        if kind == "unsatisfied" or first >= len(whole):
            return _framed("416 Range Not Satisfiable", [*head, f"Content-Range: bytes */{len(whole)}"], b"")
        first -= kind in ("wrong range", "wider range") and first > 0
        last -= kind == "wrong range" and last > first
        status, body = "206 Partial Content", whole[first : last + 1]
        described = f"bytes {first}-{last}/{len(whole)}"
        if kind == "multipart":
            return _multipart(head, body, described)
        head.append(f"Content-Range: {described}")
        if kind in ("short range", "short range cut"):
            body = body[: len(body) // 2]
    match kind:
        case "no length":
            return _framed(status, [*head, "Connection: close"], body[: len(body) // 2], length=None)
        case "chunks cut" | "endless":
            chunk = body if kind == "chunks cut" else bytes(65536)
            chunks = b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
            return _framed(status, [*head, "Transfer-Encoding: chunked"], chunks, length=None)
        case "two lengths":
            return _framed(status, [*head, f"Content-Length: {len(body) + 1}"], body)
        case "huge":
            return _framed(status, head, bytes(65536), length=HUGE_BYTES)
        case "gzip":
            return _framed(status, [*head, "Content-Encoding: gzip"], bomb())
    return _framed(status, head, body)


def _multipart(head: list[str], body: bytes, described: str) -> Framed:
    part = f"\r\n--{_BOUNDARY}\r\nContent-Range: {described}\r\n\r\n".encode() + body
    kind = f"Content-Type: multipart/byteranges; boundary={_BOUNDARY}"
    return _framed("206 Partial Content", [*head, kind], part * 2 + f"\r\n--{_BOUNDARY}--\r\n".encode())


def _framed(status: str, head: list[str], body: bytes, length: int | None = -1) -> Framed:
    lengths = [] if length is None else [f"Content-Length: {len(body) if length < 0 else length}"]
    return Framed("\r\n".join([f"HTTP/1.1 {status}", *head, *lengths, "", ""]).encode(), body)


@cache
def bomb() -> bytes:
    """A gigabyte of zeros, packed: a megabyte, made of many members so that it is quickly made."""
    return gzip.compress(bytes(1 << 24)) * (_BOMB_BYTES >> 24)
