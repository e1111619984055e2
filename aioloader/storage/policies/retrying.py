"""A store that asks again: failures that may pass are repeated, broken bodies resumed, refusals answered by pacing."""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from aioloader.errors import StoreError
from aioloader.storage.pages import listed
from aioloader.storage.pins import pin_of, version_getter
from aioloader.storage.policies.hedging import Hedges
from aioloader.storage.policies.origin_state import state_of
from aioloader.storage.policies.repeating import repeated
from aioloader.storage.policies.wrapping import WrappingStore
from aioloader.types import ResumableStore, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from aioloader.storage.policies.origin_state import OriginState
    from aioloader.storage.policies.retry import Retry
    from aioloader.types import ByteRange, ObjectMeta, Partial, SampleRef

T = TypeVar("T")


class RetryingStore(WrappingStore[Store]):
    """``base``, asked again as ``retry`` says; what it knows of the origin is shared by all stores of the process."""

    def __init__(self, base: Store, retry: Retry) -> None:
        super().__init__(base)
        self._get_version = version_getter(base)
        self.retry = retry
        self._state: OriginState | None = None
        self._hedges: Hedges | None = None
        self._is_far = not base.origin.startswith(("file:", "memory:"))
        self._may_hedge = self._is_far and retry.hedge_share > 0 and retry.attempts > 1

    async def get(self, key: str, byte_range: ByteRange | None = None, known: SampleRef | None = None) -> bytes:
        """All bytes of ``key``, or those of the half-open ``byte_range``; of the version that ``known`` was listed
        with, where its ETag says which that is and the base can be asked for it.

        Raises the last attempt's `StoreError`, which says how many there were. Cancelling ends the attempt or the wait.
        """
        origin = self._state or self._origin_state()
        failed = None
        if origin.pace.is_free:  # as a rule: nothing that only a second attempt needs
            sent_s = monotonic()
            try:
                body = await self._ask(key, byte_range, known, None)
            except StoreError as exc:
                failed = exc, sent_s
            else:
                origin.answered(monotonic())
                return body
        again = repeated(origin, self.retry, partial(self._ask, key, byte_range, known), byte_range, key, failed)
        failed = None  # the traceback keeps this frame
        return await again

    def _ask(
        self, key: str, byte_range: ByteRange | None, known: SampleRef | None, so_far: Partial | None
    ) -> Coroutine[Any, Any, bytes]:
        """One attempt; twice where it is late."""
        if so_far is not None and isinstance(self.base, ResumableStore):
            return self.base.get_rest(key, so_far)
        etag = pin_of(known) if self._get_version is not None else None
        if not self._may_hedge:
            return self._get(key, byte_range, etag)
        if byte_range is not None:
            nbytes: int | None = byte_range[1] - byte_range[0]
        else:
            nbytes = None if known is None else known.size_bytes
        hedges = self._hedges
        if hedges is None or hedges.loop is not asyncio.get_running_loop():
            hedges = self._hedges = Hedges(self._origin_state(), self.retry)
        return hedges.get(partial(self._get, key, byte_range, etag), nbytes)

    def _get(self, key: str, byte_range: ByteRange | None, etag: str | None) -> Coroutine[Any, Any, bytes]:
        if etag is None or self._get_version is None:
            return self.base.get(key, byte_range)
        return self._get_version(key, byte_range, etag)

    async def size(self, key: str) -> int:
        """Length of the object in bytes. Raises `StoreError`."""
        return await self.again(lambda: self.base.size(key))

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """As the base lists; a page that fails is asked for again."""
        return listed(self.base, prefix, self.again) if self._is_far else self.base.list(prefix)

    async def again(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` gives, any request to this origin; repeated as others are."""
        return await repeated(self._origin_state(), self.retry, lambda _: ask())

    @property
    def read_now(self) -> Callable[[str, ByteRange | None], bytes] | None:
        """That of a base that has one, once: who calls it asks again by `get`."""
        return getattr(self.base, "read_now", None)

    def _origin_state(self) -> OriginState:
        if self._state is None:
            self._state = state_of(self.base.origin)
        return self._state

    def __reduce__(self) -> tuple[object, ...]:
        return RetryingStore, (self.base, self.retry)
