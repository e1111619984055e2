"""For tests of users' own parts: what aioloader holds its own stores to."""

from __future__ import annotations

from aioloader.testing.fault_server import Fault as Fault
from aioloader.testing.fault_server import FaultServer as FaultServer
from aioloader.testing.store_contract import StoreContract as StoreContract

__all__ = ["Fault", "FaultServer", "StoreContract"]
