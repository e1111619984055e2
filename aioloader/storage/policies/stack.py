"""The policies around a dataset's store, in the order a request passes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.storage.cache.store import CachingStore
from aioloader.storage.policies.coalescing import CoalescingStore
from aioloader.storage.policies.retrying import RetryingStore

if TYPE_CHECKING:
    from aioloader.storage.cache.options import CacheOptions
    from aioloader.storage.policies.retry import Retry
    from aioloader.types import InformedStore, Store


def with_policies(store: Store, *, retry: Retry, cache: CacheOptions | None = None) -> InformedStore:
    """``store`` as the engine asks it: from ``cache`` what is there, the rest again and again as ``retry`` says.

    What lies on this machine already is not kept a second time.
    """
    coalescing = CoalescingStore(RetryingStore(store, retry))
    if cache is None or not cache.is_worth(store.origin):
        return coalescing
    return CachingStore(coalescing, cache)
