"""A web server that does wrong what servers do wrong, byte by byte, the same way every time.

It speaks to the socket itself: a web framework cannot send a body that is shorter than announced. Each object's
requests are counted, and the n-th meets the n-th of its faults; after the last one they are answered well.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
from collections import defaultdict
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, unquote, urlsplit

from aioloader.testing.fault_answers import etag_of, framed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from aioloader.runtime.token_bucket import TokenBucket
    from aioloader.testing.faults import Fault, RandomFaults

_BACKLOG: Final = 4096
_Z99: Final = 2.326


class FaultServer:
    """``objects`` by key, at ``url``; ``faults`` are, by key, what its first requests meet, and ``luck`` what any does.

    ``bucket`` refuses with 503 what comes too fast. ``latency_s`` passes before each answer; with ``latency_p99_s``
    it is the median of log-normal latencies of which one in a hundred is above that, drawn from ``seed``. ``etags``
    are ``"strong"``, ``"weak"`` or ``"none"``. ``requests`` counts them by key, ``refused`` those that ``bucket``
    did. An async context manager, on the loop that enters it.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes],
        faults: Mapping[str, Sequence[Fault]] | None = None,
        *,
        luck: RandomFaults | None = None,
        bucket: TokenBucket | None = None,
        latency_s: float = 0.0,
        latency_p99_s: float | None = None,
        seed: int = 0,
        etags: str = "strong",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.objects = dict(objects)
        self.faults = {key: list(some) for key, some in (faults or {}).items()}
        self.luck = luck
        self.bucket = bucket
        self.latency_s = latency_s
        self.latency_p99_s = latency_p99_s
        self.etags = etags
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.ranges: defaultdict[str, list[str]] = defaultdict(list)
        self.headers: list[Mapping[str, str]] = []
        """The last requests' header fields, names in lower case."""
        self.connections = 0
        self.faulted = 0
        self.refused = 0
        self.answered = 0
        self.in_flight_peak = 0
        self.url = ""
        self._tls = tls
        self._draw = random.Random(seed)
        self._in_flight = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen: at the same port as before, if it did."""
        port = urlsplit(self.url).port or 0
        self._server = await asyncio.start_server(
            self._connection, "127.0.0.1", port, ssl=self._tls, backlog=_BACKLOG, reuse_address=True
        )
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self._tls is not None else ''}://127.0.0.1:{port}/"

    async def down(self) -> None:
        """End every connection and refuse new ones."""
        if self._server is not None:
            # A connection that is accepted and not yet served is never closed by asyncio: first accept no more.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await _turns()
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turns()  # and what was aborted is closed

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        # CancelledError ends here: asyncio's streams would log it as an error of ours.
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the client left
                while await self._request(reader, writer):
                    pass
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in lines)}
        path = line.split(" ")[1].partition("?")[0].removeprefix("/")
        key = unquote(path, errors="surrogateescape")
        number = self.requests[key]
        self.requests[key] += 1
        self.ranges[key] = [*self.ranges[key][-99:], fields.get("range", "")]
        self.headers = [*self.headers[-9:], fields]
        self._in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self._in_flight)
        try:
            await asyncio.sleep(self._latency_s())
            if self.bucket is not None and not self.bucket.takes():
                self.refused += 1
                return await self._refuse(writer, 503, "Slow Down")
            fault = self._fault(key, number)
            self.faulted += fault is not None
            return await self._answer(writer, line.startswith("HEAD"), key, fields, fault)
        finally:
            self._in_flight -= 1

    def _latency_s(self) -> float:
        if self.latency_p99_s is None:
            return self.latency_s
        sigma = math.log(self.latency_p99_s / self.latency_s) / _Z99
        return self._draw.lognormvariate(math.log(self.latency_s), sigma)

    def _fault(self, key: str, number: int) -> Fault | None:
        some = self.faults.get(key, ())
        if number < len(some):
            return some[number]
        return None if self.luck is None else self.luck.of(key, number, len(self.objects.get(key, b"")))

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
        etag = etag_of(whole, self.etags)
        if fields.get("if-match", etag) != etag and kind != "ignored etag":
            return await self._refuse(writer, 412, "Precondition Failed")
        answer = framed(whole, etag, fields.get("range", ""), kind)
        if kind == "slow header":
            await self._drip(writer, answer.head)
        writer.write(answer.head)
        if is_head:
            await writer.drain()
            return True
        return await self._send(writer, answer.body, fault)

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
            case "huge" | "endless":
                while True:
                    writer.write(body)
                    await writer.drain()
            case "reset" | "cut" | "stall" | "drip" | "short range cut":
                writer.write(body[:at])
                await writer.drain()
                return await self._break(writer, body[at:], fault.kind)
        writer.write(body)
        await writer.drain()
        return fault.kind not in ("no length", "chunks cut", "two lengths")

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


async def _turns() -> None:
    """Let the loop do what it has to do already."""
    for _ in range(5):
        await asyncio.sleep(0)
