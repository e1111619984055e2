"""For tests of users' own parts: what aioloader holds its own stores to."""

from __future__ import annotations

from aioloader.testing.store_contract import StoreContract as StoreContract

__all__ = ["StoreContract"]
