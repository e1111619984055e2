"""The connections of one event loop: some to the user's own servers, others for redirects to strangers."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from aioloader.storage.freed_memory import keep_freed_memory
from aioloader.storage.hosts import PrivateAddressError, is_loopback_host, literal_address
from aioloader.storage.http.aiohttp_transport import AiohttpTransport
from aioloader.storage.http.proxy import proxy_for
from aioloader.storage.http.redirects import same_origin
from aioloader.storage.http.resolver import Resolver, is_inner_host
from aioloader.storage.http.slow_reads import SlowReads

if TYPE_CHECKING:
    from yarl import URL

    from aioloader.storage.http.options import HTTPOptions
    from aioloader.storage.http.transport import Transport


class Connections:
    """What one event loop holds open; made and used on that loop only."""

    def __init__(self, options: HTTPOptions) -> None:
        keep_freed_memory()
        self._options = options
        self._tls: ssl.SSLContext | None = None
        self._proxies: dict[tuple[str, str | None, int | None], URL | None] = {}
        self.slow_reads = SlowReads(options.floor_bytes_per_s, options.floor_window_s)
        self._home = self._transport(guarded=False)
        self._strange: Transport | None = None

    def _transport(self, *, guarded: bool) -> Transport:
        if self._options.client == "fast":
            from aioloader.storage.http.fast_transport import FastTransport  # httptools comes with the extra

            return FastTransport(self._options, guarded=guarded, tls=self._tls_context, proxy_for=self._proxy_for)
        return AiohttpTransport(self._options, guarded=guarded, tls=self._tls_context, proxy_for=self._proxy_for)

    def _tls_context(self) -> ssl.SSLContext:
        """Verification against the system's authorities and ``ca_file``; TLS 1.2 at least."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._options.ca_file is not None:
                self._tls.load_verify_locations(cafile=str(self._options.ca_file))
        return self._tls

    def _proxy_for(self, url: URL) -> URL | None:
        """The proxy for ``url``'s origin; the environment is asked once for each."""
        if self._options.proxy is None:
            return None
        origin = (url.scheme, url.host, url.port)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(url, self._options.proxy)
        return self._proxies[origin]

    @property
    def home(self) -> Transport:
        """The transport to the addresses that the user gave."""
        return self._home

    async def after_redirect(self, url: URL, *, home: URL) -> Transport:
        """The transport for ``url``, to which requests to ``home`` were redirected.

        Raises `PrivateAddressError` where a redirect leads to an inner address and ``home`` is not on one.
        """
        if same_origin(url, home) or await self._is_at_inner_host(home):
            return self._home
        host = url.host or ""
        if is_inner_host(host) or is_loopback_host(host):  # the resolver is not asked about addresses
            raise PrivateAddressError(host)
        if self._strange is None:
            self._strange = self._transport(guarded=True)
        return self._strange

    async def _is_at_inner_host(self, url: URL) -> bool:
        """Whether the user's own address is on an inner network: then redirects may stay on it."""
        host = url.host or ""
        if literal_address(host) is not None:
            return is_inner_host(host)
        resolver = Resolver(timeout_s=self._options.connect_timeout_s, guarded=False)
        try:
            found = await resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)
        except OSError:
            return False  # reached through a proxy that knows the name: take it for a public one
        return bool(found) and all(is_inner_host(entry["host"]) for entry in found)

    async def aclose(self) -> None:
        """Close both transports, the second even where the first fails."""
        self.slow_reads.close()
        try:
            await self._home.aclose()
        finally:
            if self._strange is not None:
                await self._strange.aclose()
