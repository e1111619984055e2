"""The ``fast`` transport: kept-alive connections of our own, without what a GET does not need.

aiohttp does everything a client may be asked for, and a GET of 64 KiB pays for it: 60 us of CPU against 25 here
(docs/notes/http-transport.md). Requests that go through a proxy are left to aiohttp.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohappyeyeballs
import aiohttp

from aioloader.storage.hosts import literal_address
from aioloader.storage.http.aiohttp_transport import DEFAULT_HEADERS, KEEP_ALIVE_S, AiohttpTransport
from aioloader.storage.http.errors import NoRouteError
from aioloader.storage.http.resolver import Resolver
from aioloader.storage.http.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohappyeyeballs import AddrInfoType
    from aiohttp.abc import ResolveResult
    from yarl import URL

    from aioloader.storage.http.options import HTTPOptions
    from aioloader.storage.http.transport import Answer

LOOKUP_KEPT_S: Final = 10.0
SECOND_FAMILY_S: Final = 0.25
"""How long IPv6 has the word alone; RFC 8305."""
CLOSING_S: Final = 1.0

_VISIBLE = re.compile(r"[!-~]+")
_ALL_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))


class _Origin:
    """One scheme, host and port: its idle connections, its addresses, and the header last sent to it."""

    def __init__(self, url: URL, *, proxied: bool) -> None:
        self.host = url.host or ""
        self.port = url.port or 0
        self.secure = url.scheme == "https"
        self.host_field = url.host_port_subcomponent or ""
        self.proxied = proxied
        self.idle: list[Wire] = []
        self.lookup = asyncio.Lock()
        self.addresses: deque[AddrInfoType] = deque()
        self.addresses_until_s = 0.0
        self._headers: Mapping[str, str] | None = None
        self._lines = ""

    def request(self, method: str, url: URL, headers: Mapping[str, str]) -> bytes:
        """The header of a request; it has no body."""
        target = url.raw_path_qs
        if not _VISIBLE.fullmatch(target):
            # Of a redirect: a space would end it, a line break would begin another request.
            target = quote(target, safe=_ALL_VISIBLE, errors="surrogateescape")
        if headers != self._headers:
            fields = {"host": f"Host: {self.host_field}", "accept": "Accept: */*"}
            for name, value in (*DEFAULT_HEADERS.items(), *headers.items()):
                fields[name.lower()] = f"{name}: {value}"
            self._headers, self._lines = dict(headers), "\r\n".join([*fields.values(), "", ""])
        return f"{method} {target} HTTP/1.1\r\n{self._lines}".encode()


class FastTransport:
    """A `Transport` over HTTP/1.1; made and used on one event loop. ``tls`` is called for ``https`` addresses."""

    def __init__(
        self,
        options: HTTPOptions,
        *,
        guarded: bool,
        tls: Callable[[], ssl.SSLContext],
        proxy_for: Callable[[URL], URL | None],
    ) -> None:
        self._tls = tls
        self._proxy_for = proxy_for
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(timeout_s=options.connect_timeout_s, guarded=guarded)
        self._connect_timeout_s = options.connect_timeout_s
        self._idle_timeout_s = options.idle_timeout_s
        self._by_proxy = partial(AiohttpTransport, options, guarded=guarded, tls=tls, proxy_for=proxy_for)
        self._proxied: AiohttpTransport | None = None
        self._origins: dict[tuple[str, str], _Origin] = {}
        self._wires: dict[Wire, _Origin] = {}
        self._busy: set[Wire] = set()
        self._permits = asyncio.Semaphore(options.max_connections)  # a busy connection holds one
        # Four looks within a time limit: a stall is noticed after 1 to 1.25 times it, without a timer a request.
        self._look_every_s = min(options.idle_timeout_s, KEEP_ALIVE_S) / 4
        self._look_due_s = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(self, method: str, url: URL, headers: Mapping[str, str]) -> Answer:
        """The answer: a short one with its body, a longer one as soon as its header is there."""
        key = (url.scheme, url.raw_authority)
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = _Origin(url, proxied=self._proxy_for(url) is not None)
        if origin.proxied:
            if self._proxied is None:
                self._proxied = self._by_proxy()
            return await self._proxied.request(method, url, headers)
        request = origin.request(method, url, headers)
        fresh = False
        while True:
            wire, reused = await self._wire(origin, fresh=fresh)
            answer = wire.ask(request, bodiless=method == "HEAD")
            try:
                await answer.waiter
            except (aiohttp.ServerDisconnectedError, ConnectionError):
                # Closed while it lay idle and seen only now: that is no failure of this request.
                if not reused or not wire.silent:
                    raise
                fresh = True
            except BaseException:
                answer.close()
                raise
            else:
                return answer

    async def aclose(self) -> None:
        """Drop all connections, and wait until they are gone; idempotent."""
        self._closed = True
        if self._look is not None:
            self._look.cancel()
        wires = list(self._wires)
        for wire in wires:
            wire.fail(aiohttp.ClientConnectionError("the store was closed"))
        try:
            if wires:
                await asyncio.wait([wire.lost for wire in wires], timeout=CLOSING_S)
        finally:
            if self._proxied is not None:
                await self._proxied.aclose()

    async def _wire(self, origin: _Origin, *, fresh: bool) -> tuple[Wire, bool]:
        """A connection that is busy from now on, and whether it was used before."""
        await self._permits.acquire()
        while origin.idle and not fresh:
            wire = origin.idle.pop()  # the one used last: the others may grow old and be closed
            if wire.usable:
                self._busy.add(wire)
                return wire, True
        try:
            wire = await self._open(origin)
        except BaseException:
            self._permits.release()
            raise
        self._wires[wire] = origin
        self._busy.add(wire)
        if self._look is None:
            self._look_later()
        return wire, False

    async def _open(self, origin: _Origin) -> Wire:
        addresses = await self._addresses(origin)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                sock = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=SECOND_FAMILY_S, loop=self._loop
                )
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    _, wire = await self._loop.create_connection(
                        lambda: Wire(self._loop, self._free, self._lost),
                        sock=sock,
                        ssl=self._tls() if origin.secure else None,
                        server_hostname=origin.host.rstrip(".") if origin.secure else None,
                    )
            except BaseException:
                sock.close()
                raise
        except TimeoutError as exc:
            raise aiohttp.ConnectionTimeoutError from exc
        except ssl.SSLError:
            raise
        except OSError as exc:
            raise NoRouteError(origin.host, origin.port, exc, lookup=False) from exc
        if self._closed or not wire.usable:
            wire.drop()
            raise aiohttp.ServerDisconnectedError
        return wire

    async def _addresses(self, origin: _Origin) -> Sequence[AddrInfoType]:
        """Where the host is; each connection begins with the next of its addresses."""
        if literal_address(origin.host) is not None:
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # asks nobody, so it does not block
            return socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=flags)
        async with origin.lookup:  # many connections are opened at once: one of them asks
            if self._loop.time() >= origin.addresses_until_s:
                try:
                    found = await self._resolver.resolve(origin.host, origin.port, socket.AF_UNSPEC)
                except OSError as exc:
                    raise NoRouteError(origin.host, origin.port, exc, lookup=True) from exc
                origin.addresses = deque(
                    (entry["family"], socket.SOCK_STREAM, entry["proto"], "", _socket_address(entry)) for entry in found
                )
                origin.addresses_until_s = self._loop.time() + LOOKUP_KEPT_S
            origin.addresses.rotate(-1)
            return list(origin.addresses)

    def _free(self, wire: Wire) -> None:
        self._busy.remove(wire)
        self._permits.release()
        self._wires[wire].idle.append(wire)

    def _lost(self, wire: Wire) -> None:
        origin = self._wires.pop(wire, None)
        if wire in self._busy:
            self._busy.remove(wire)
            self._permits.release()
        elif origin is not None and wire in origin.idle:
            origin.idle.remove(wire)

    def _look_later(self) -> None:
        self._look_due_s = self._loop.time() + self._look_every_s
        self._look = self._loop.call_at(self._look_due_s, self._look_around)

    def _look_around(self) -> None:
        """Fail what stalls and close what lay idle too long."""
        self._look = None
        now_s = self._loop.time()
        # A loop that comes much too late (suspend, breakpoint) has bytes to read first.
        if now_s < self._look_due_s + self._look_every_s:
            for wire in list(self._wires):
                quiet_s = now_s - wire.moved_s
                if wire in self._busy:
                    if quiet_s > self._idle_timeout_s and not wire.paused:
                        wire.fail(aiohttp.SocketTimeoutError("no byte came"))
                elif quiet_s > KEEP_ALIVE_S:
                    wire.drop()
        if self._wires:
            self._look_later()


def _socket_address(entry: ResolveResult) -> tuple[str, int] | tuple[str, int, int, int]:
    if entry["family"] == socket.AF_INET6:
        return entry["host"], entry["port"], 0, 0
    return entry["host"], entry["port"]
