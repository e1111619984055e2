"""Names of hosts to addresses, within a time limit, and never to an inner network by a stranger's word."""

from __future__ import annotations

import asyncio
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from aioloader.storage.hosts import PrivateAddressError, is_inner_address, literal_address


class Resolver(AbstractResolver):
    """The system's name look-up, with a time limit, and with inner addresses refused where ``guarded``.

    The check is made on the very addresses that are then connected to: a second look-up could differ.
    """

    def __init__(self, *, timeout_s: float, guarded: bool) -> None:
        self._inner = ThreadedResolver()
        self._timeout_s = timeout_s
        self._guarded = guarded

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of ``host``. Raises `OSError`, of which `PrivateAddressError` is one."""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._inner.resolve(host, port, family)
        except TimeoutError as exc:
            raise OSError(f"no answer within {self._timeout_s:g} s") from exc
        if self._guarded and any(is_inner_host(entry["host"]) for entry in found):
            raise PrivateAddressError(host)
        return found

    async def close(self) -> None:
        """Nothing is kept."""
        await self._inner.close()


def is_inner_host(host: str) -> bool:
    """Whether ``host`` spells an address on an inner network; names are not looked up."""
    address = literal_address(host)
    return address is not None and is_inner_address(address)
