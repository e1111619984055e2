"""A web server that does wrong what servers do wrong, byte by byte, the same way every time.

It speaks to the socket itself: a web framework cannot send a body that is shorter than announced. Each object's
requests are counted, and the n-th meets the n-th of its faults; after the last one they are answered well.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import md5
from time import monotonic
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = (
    "reset", "cut", "stall", "drip", "silent", "slow header", "no length", "extra bytes", "flip", "changed",
    "ignored etag", "ignored range", "wrong range",
    "short range", "redirect loop", "expired", "throttle", "status",
)  # fmt: skip
"""What a `Fault` can be:

``reset`` and ``cut`` end the connection after ``at_bytes`` of the body, the first by RST; ``stall`` sends no more
after them, ``drip`` one byte a second. ``silent`` never answers, ``slow header`` sends a byte of it a second. ``no
length`` announces none and ends with the connection half way, ``extra bytes`` follow the body, ``flip`` changes one
bit of it. ``changed`` replaces the object by another of the same length, for good, and ``ignored etag`` sends that
one to who asked for the former. ``ignored range`` sends the whole, ``wrong range`` another one than asked, ``short
range`` half of the one that its header names. ``redirect loop`` leads to itself, ``expired`` is S3's 400
ExpiredToken. ``throttle`` is a 429 with ``retry_after_s``, ``status`` any other answer without an object.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What one request meets; see `KINDS`."""

    kind: str
    at_bytes: int = 0
    status: int = 503
    retry_after_s: int | None = None


@dataclass(slots=True)
class TokenBucket:
    """So many requests a second, and ``burst`` at once; what comes beyond is refused with 503."""

    per_s: float
    burst: float
    tokens: float = field(init=False)
    looked_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens, self.looked_s = self.burst, monotonic()

    def takes(self) -> bool:
        """Whether one more request may pass now."""
        now_s = monotonic()
        self.tokens = min(self.tokens + (now_s - self.looked_s) * self.per_s, self.burst)
        self.looked_s = now_s
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class FaultServer:
    """``objects`` by key, at ``url``; ``faults`` are, by key, what its first requests meet.

    ``bucket`` refuses what comes too fast, ``latency_s`` passes before each answer. ``requests`` counts them by key,
    ``refused`` those that ``bucket`` did. An async context manager, on the loop that enters it.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes],
        faults: Mapping[str, Sequence[Fault]] | None = None,
        *,
        bucket: TokenBucket | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self.objects = dict(objects)
        self.faults = {key: list(some) for key, some in (faults or {}).items()}
        self.bucket = bucket
        self.latency_s = latency_s
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.ranges: defaultdict[str, list[str]] = defaultdict(list)
        self.refused = 0
        self.answered = 0
        self.in_flight_peak = 0
        self.url = ""
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # CancelledError: asyncio's streams would log it as an error of ours.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in lines)}
        key = unquote(line.split(" ")[1].partition("?")[0].removeprefix("/"))
        number = self.requests[key]
        self.requests[key] += 1
        self.ranges[key].append(fields.get("range", ""))
        self._in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self._in_flight)
        try:
            await asyncio.sleep(self.latency_s)
            if self.bucket is not None and not self.bucket.takes():
                self.refused += 1
                return await self._refuse(writer, 503, "Slow Down")
            some = self.faults.get(key, ())
            fault = some[number] if number < len(some) else None
            return await self._answer(writer, line.startswith("HEAD"), key, fields, fault)
        finally:
            self._in_flight -= 1

    async def _refuse(self, writer: asyncio.StreamWriter, status: int, reason: str, *more: str, body: str = "") -> bool:
        head = [
            f"HTTP/1.1 {status} {reason}",
            f"Content-Length: {len(body)}",
            f"Date: {formatdate(usegmt=True)}",
            *more,
        ]
        writer.write(("\r\n".join([*head, "", ""]) + body).encode())
        await writer.drain()
        return True

    async def _answer(
        self, writer: asyncio.StreamWriter, is_head: bool, key: str, fields: Mapping[str, str], fault: Fault | None
    ) -> bool:
        kind = "" if fault is None else fault.kind
        if fault is not None and kind in ("status", "throttle"):
            wait = () if fault.retry_after_s is None else (f"Retry-After: {fault.retry_after_s}",)
            return await self._refuse(writer, 429 if kind == "throttle" else fault.status, "Refused", *wait)
        if kind == "expired":
            return await self._refuse(writer, 400, "Bad Request", body="<Error><Code>ExpiredToken</Code></Error>")
        if kind == "redirect loop":
            return await self._refuse(writer, 302, "Found", f"Location: /{quote(key)}")
        if kind == "silent":
            await asyncio.Event().wait()
        if kind in ("changed", "ignored etag"):
            self.objects[key] = bytes(byte ^ 0xFF for byte in self.objects[key])
        whole = self.objects.get(key)
        if whole is None:
            return await self._refuse(writer, 404, "Not Found")
        etag = f'"{md5(whole, usedforsecurity=False).hexdigest()}"'
        if fields.get("if-match", etag) != etag and kind != "ignored etag":
            return await self._refuse(writer, 412, "Precondition Failed")
        first = fields.get("range", "").removeprefix("bytes=").partition("-")[0]
        if first and int(first) >= len(whole):
            return await self._refuse(writer, 416, "Range Not Satisfiable", f"Content-Range: bytes */{len(whole)}")
        body, head = self._framed(whole, etag, fields, kind)
        if kind == "slow header":
            await self._drip(writer, head)
        writer.write(head)
        if is_head:
            await writer.drain()
            return True
        return await self._send(writer, body, fault)

    def _framed(self, whole: bytes, etag: str, fields: Mapping[str, str], kind: str) -> tuple[bytes, bytes]:
        """The body, and the header before it."""
        head = [f"ETag: {etag}", f"Date: {formatdate(usegmt=True)}"]
        body, status = whole, "200 OK"
        asked = fields.get("range", "").removeprefix("bytes=")
        if asked and kind != "ignored range":
            first, last = (int(part) for part in asked.split("-"))
            shift = 1 if kind == "wrong range" else 0
            first, last, status = first - shift, min(last, len(whole) - 1) - shift, "206 Partial Content"
            body = whole[first : last + 1]
            head.append(f"Content-Range: bytes {first}-{last}/{len(whole)}")
            if kind == "short range":
                body = body[: len(body) // 2]
        if kind == "no length":
            head.append("Connection: close")
        else:
            head.append(f"Content-Length: {len(body)}")
        return body, "\r\n".join([f"HTTP/1.1 {status}", *head, "", ""]).encode()

    async def _send(self, writer: asyncio.StreamWriter, body: bytes, fault: Fault | None) -> bool:
        if fault is None:
            writer.write(body)
            await writer.drain()
            self.answered += 1
            return True
        at = min(fault.at_bytes, max(len(body) - 1, 0))
        match fault.kind:
            case "flip":
                body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            case "extra bytes":
                body += b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            case "no length":
                writer.write(body[: len(body) // 2])
                await writer.drain()
                return False
            case "reset" | "cut" | "stall" | "drip":
                writer.write(body[:at])
                await writer.drain()
                return await self._break(writer, body[at:], fault.kind)
        writer.write(body)
        await writer.drain()
        return True

    async def _break(self, writer: asyncio.StreamWriter, rest: bytes, kind: str) -> bool:
        if kind == "drip":
            await self._drip(writer, rest)
            return True
        await asyncio.sleep(0.01)  # what was written leaves first, or the client may never see it
        if kind == "stall":
            await asyncio.Event().wait()
        if kind == "reset":
            wire: socket.socket = writer.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return False

    @staticmethod
    async def _drip(writer: asyncio.StreamWriter, content: bytes) -> None:
        for place in range(len(content)):
            writer.write(content[place : place + 1])
            await writer.drain()
            await asyncio.sleep(1.0)


def random_faults(
    objects: Mapping[str, bytes], kinds: Sequence[str], *, share: float, seed: int, most: int = 3
) -> dict[str, list[Fault]]:
    """For about ``share`` of the objects one to ``most`` faults of ``kinds``, drawn from ``seed``."""
    draw = random.Random(seed)
    faults = {}
    for key in sorted(objects):
        if draw.random() < share:
            faults[key] = [
                Fault(
                    kind=draw.choice(kinds),
                    at_bytes=draw.randrange(max(len(objects[key]), 1)),
                    status=draw.choice((500, 502, 503, 504)),
                )
                for _ in range(draw.randint(1, most))
            ]
    return faults
