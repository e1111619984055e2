"""Which hosts are this machine, and which are on somebody's inner network."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def literal_address(host: str) -> Address | None:
    """The IP address that ``host`` spells, unwrapped where IPv6 only carries IPv4; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # ::ffff:169.254.169.254 reaches the metadata service as well as the bare address does.
        return address.ipv4_mapped or address.sixtofour or address
    return address


def is_inner_address(address: Address) -> bool:
    """Whether the address is loopback, private, link-local, or otherwise not on the public Internet."""
    return not address.is_global or address.is_multicast


def is_loopback_host(host: str) -> bool:
    """Whether requests to ``host`` stay on this machine: ``localhost`` and loopback addresses."""
    address = literal_address(host)
    if address is not None:
        return address.is_loopback
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


class PrivateAddressError(OSError):
    """A redirect would lead to an inner network; ``host`` is the name or address it gave."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is on an inner network")
        self.host = host
