"""The policies around a dataset's store, in the order a request passes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.storage.coalescing import CoalescingStore
from aioloader.storage.retrying import RetryingStore

if TYPE_CHECKING:
    from aioloader.storage.retry import Retry
    from aioloader.types import InformedStore, Store


def with_policies(store: Store, *, retry: Retry) -> InformedStore:
    """``store`` as the engine asks it."""
    return CoalescingStore(RetryingStore(store, retry))
