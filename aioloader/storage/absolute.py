"""Keys that are whole addresses, from servers the user has named."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aioloader.errors import DatasetError, ManifestError, OptionError
from aioloader.redact import redact_url
from aioloader.runtime.loop_thread import parts_of
from aioloader.storage.hosts import is_inner_address, literal_address
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.pins import version_getter
from aioloader.types import ResumableStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aioloader.runtime.loop_thread import Closable
    from aioloader.storage.http.fetch import HTTPFetcher
    from aioloader.storage.http.whole_url import WholeURL
    from aioloader.types import ByteRange, ObjectMeta, Partial, Store

_NAME: Final = r"[^\s/?#@\[\]:*]+"
_ENTRY = re.compile(rf"(\*\.{_NAME}|{_NAME}|\[[0-9A-Fa-f:.]+\])(?::(\d{{1,5}}))?")


class AbsoluteStore:
    """``base``, but a key with ``://`` is an ``http(s)`` address and read from its own server.

    A manifest's author could make this machine fetch anything, so only hosts in ``allow_hosts`` are asked:
    ``"images.example.com"`` (any port), ``"10.0.0.7:8080"``, or ``"*.example.com"`` (every name below it, unless
    it leads to an inner network). Redirects to other servers are refused. ``http`` gives proxy, certificates
    and time limits; its headers are for the user's own server and never sent. Raises `OptionError`.
    """

    def __init__(self, base: Store, *, allow_hosts: Sequence[str], http: HTTPStore | None = None) -> None:
        self._base = base
        self._base_version = version_getter(base)
        self._exact: set[tuple[str, int | None]] = set()
        self._suffixes: set[tuple[str, int | None]] = set()
        if isinstance(allow_hosts, str):
            shown = redact_url(allow_hosts)
            raise OptionError("allow_hosts", repr(shown), f"a list: [{shown!r}]")
        for entry in allow_hosts:
            self._add(entry)
        self._options = replace((http or HTTPStore()).options, headers=None)
        self._fetcher: HTTPFetcher | None = None

    def _add(self, entry: object) -> None:
        match = _ENTRY.fullmatch(entry) if isinstance(entry, str) else None
        if match is None or (match[2] is not None and not 0 < int(match[2]) < 65536):
            shown = redact_url(entry) if isinstance(entry, str) else entry
            raise OptionError("allow_hosts", repr(shown), "hosts such as 'example.com' or '*.example.com'")
        port = int(match[2]) if match[2] is not None else None
        if match[1].startswith("*."):
            self._suffixes.add((_comparable(match[1][1:]), port))
        else:
            self._exact.add((_comparable(match[1]), port))

    @property
    def location(self) -> str:
        """The base's; the hosts before it where the base is this machine's disk."""
        if self._hosts_lead():
            hosts = f"https://{','.join(self._hosts)}/"
            return hosts if self._base.location == "file:///" else f"{hosts} and {self._base.location}"
        return self._base.location

    @property
    def origin(self) -> str:
        """The base's; absolute addresses share its limits. Not a disk's: the hosts' then, with their own."""
        return f"https://{','.join(self._hosts)}" if self._hosts_lead() else self._base.origin

    def check(self, key: str) -> None:
        """Raise `ManifestError` if ``key`` is an address that may not be read. Asks no server."""
        if "://" in key:
            self._allowed(key)

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """The bytes of ``key``, from the base or from the address's own server.

        Raises `StoreError`, and `ManifestError` for a host that is not allowed.
        """
        if "://" not in key:
            return await self._base.get(key, byte_range)
        whole = await self._reachable(key)
        return await self._client().fetch(
            whole.url, shown=whole.shown, byte_range=byte_range, headers=whole.headers, signed=True
        )

    async def get_version(self, key: str, byte_range: ByteRange | None, etag: str) -> bytes:
        """The bytes of the object that has this ``etag``; as `get` where the base has no versions."""
        if "://" not in key:
            if self._base_version is None:
                return await self._base.get(key, byte_range)
            return await self._base_version(key, byte_range, etag)
        whole = await self._reachable(key)
        return await self._client().fetch(
            whole.url, shown=whole.shown, byte_range=byte_range, headers=whole.headers, signed=True, etag=etag
        )

    async def get_rest(self, key: str, partial: Partial) -> bytes:
        """The bytes of which ``partial`` came, with the rest; see `aioloader.types.ResumableStore`."""
        if "://" not in key:
            if isinstance(self._base, ResumableStore):
                return await self._base.get_rest(key, partial)
            return await self._base.get(key, (partial.first, partial.stop))
        whole = await self._reachable(key)
        return await self._client().fetch_rest(
            whole.url, partial, shown=whole.shown, headers=whole.headers, signed=True
        )

    async def size(self, key: str) -> int:
        """Length of the object in bytes; raises as `get` does."""
        if "://" not in key:
            return await self._base.size(key)
        whole = await self._reachable(key)
        return await self._client().head_size(whole.url, shown=whole.shown, headers=whole.headers, signed=True)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """Always raises `DatasetError`: what exists is what the manifest says."""
        raise DatasetError(
            f"{self.location}: a manifest with absolute addresses is not listed (prefix {prefix!r}); "
            "its rows say what exists"
        )

    @property
    def shared_parts(self) -> tuple[Closable, ...]:
        """Its own connections, and the base, which other datasets may use too."""
        return (self._client(), *parts_of(self._base))

    async def aclose(self) -> None:
        """Close the running loop's connections, the base's too; idempotent."""
        try:
            if self._fetcher is not None:
                await self._fetcher.aclose()
        finally:
            await self._base.aclose()

    def _client(self) -> HTTPFetcher:
        if self._fetcher is None:
            from aioloader.storage.http.fetch import HTTPFetcher  # aiohttp: only who fetches waits for it

            self._fetcher = HTTPFetcher(self._options)
        return self._fetcher

    def _allowed(self, key: str) -> tuple[WholeURL, bool]:
        """The address, and whether its host was named itself, not by a ``*``."""
        from aioloader.storage.http.whole_url import WholeURL

        try:
            whole = WholeURL.parse(key)
            whole.require_private_channel(self._options, with_options_headers=False)
        except OptionError as exc:
            reason = f"the address {exc.got} cannot be used: expected {exc.expected}"
            raise ManifestError(reason) from None
        host = _comparable(whole.url.host or "")
        ports = (whole.url.port, None)
        if any((host, port) in self._exact for port in ports):
            return whole, True
        below = any(host.endswith(suffix) and port in ports for suffix, port in self._suffixes)
        if below and literal_address(host) is None:
            return whole, False
        raise ManifestError(
            f"the address {whole.shown} is on the host {host!r}, which is not allowed; "
            f"if you trust the manifest's author with it, add allow_hosts=[{host!r}]"
        )

    async def _reachable(self, key: str) -> WholeURL:
        whole, named = self._allowed(key)
        if not named:
            host = whole.url.host or ""
            try:
                found = await asyncio.get_running_loop().getaddrinfo(host, whole.url.port, type=socket.SOCK_STREAM)
            except OSError:
                return whole  # the fetch will say it, or a proxy knows the name
            addresses = [literal_address(str(entry[4][0])) for entry in found]
            if any(address is not None and is_inner_address(address) for address in addresses):
                raise ManifestError(
                    f"the address {whole.shown} leads to an inner network; if that is meant, "
                    f"name the host itself: allow_hosts=[{host!r}]"
                )
        return whole

    @property
    def _hosts(self) -> tuple[str, ...]:
        exact = sorted(f"{host}:{port}" if port else host for host, port in self._exact)
        return (*exact, *sorted(f"*{host}:{port}" if port else f"*{host}" for host, port in self._suffixes))

    def _hosts_lead(self) -> bool:
        return bool(self._exact or self._suffixes) and self._base.origin.startswith("file:")

    def __repr__(self) -> str:
        return f"AbsoluteStore({self._base!r}, allow_hosts={[*self._hosts]})"


def _comparable(host: str) -> str:
    return host.strip("[]").lower().rstrip(".")
