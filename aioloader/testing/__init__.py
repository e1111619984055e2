"""For tests of users' own parts: what aioloader holds its own stores to."""

from __future__ import annotations

from aioloader.runtime.token_bucket import TokenBucket as TokenBucket
from aioloader.testing.fault_server import FaultServer as FaultServer
from aioloader.testing.faults import Fault as Fault
from aioloader.testing.faults import RandomFaults as RandomFaults
from aioloader.testing.store_contract import StoreContract as StoreContract

__all__ = ["Fault", "FaultServer", "RandomFaults", "StoreContract", "TokenBucket"]
