"""A store that asks again: failures that may pass are repeated, broken bodies resumed, refusals answered by pacing."""

from __future__ import annotations

import asyncio
from functools import partial
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aioloader.errors import ConnectFailedError, StoreError, ThrottledError, TransferStalledError
from aioloader.runtime.loop_thread import parts_of
from aioloader.storage.hedging import Hedges
from aioloader.storage.origin_state import state_of
from aioloader.types import Partial, ResumableStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from aioloader.runtime.loop_thread import Closable
    from aioloader.storage.origin_state import OriginState
    from aioloader.storage.retry import Retry
    from aioloader.types import ByteRange, ObjectMeta, SampleRef, Store

PROGRESS_BYTES: Final = 65_536
"""So much more of a body, and its attempts are counted anew: less would let a server keep us busy for ever."""

_LOOK_S: Final = 0.5
_ATTEMPTS_AT_FIRST: Final = 2
"""Connections tried to an origin that never answered: its address is likely wrong."""


class RetryingStore:
    """``base``, asked again as ``retry`` says; what it knows of the origin is shared by all stores of the process."""

    def __init__(self, base: Store, retry: Retry) -> None:
        self.base = base
        self.retry = retry
        self._state: OriginState | None = None
        self._hedges: Hedges | None = None
        is_far = not base.origin.startswith(("file:", "memory:"))
        self._may_hedge = is_far and retry.hedge_share > 0 and retry.attempts > 1

    @property
    def location(self) -> str:
        """The base's."""
        return self.base.location

    @property
    def origin(self) -> str:
        """The base's."""
        return self.base.origin

    async def get(self, key: str, byte_range: ByteRange | None = None, known: SampleRef | None = None) -> bytes:
        """All bytes of ``key``, or those of the half-open ``byte_range``.

        Raises the last attempt's `StoreError`, which says how many there were. Cancelling ends the attempt or the wait.
        """
        origin = self._origin_state()
        began_s = monotonic()
        attempts = failures = 0
        so_far: Partial | None = None
        while True:
            if not origin.pace.is_free:
                await _turn(origin)
            attempts += 1
            sent_s = monotonic()
            try:
                if so_far is None or not isinstance(self.base, ResumableStore):
                    body = await self._ask(key, byte_range, known)
                else:
                    body = await self.base.get_rest(key, so_far)
            except StoreError as exc:
                error = exc
            else:
                origin.answered(monotonic())
                return body
            now_s = monotonic()
            before, so_far = so_far, error.partial if isinstance(error.partial, Partial) else None
            failures = 1 if _has_moved(before, so_far) else failures + 1
            if isinstance(error, ThrottledError):
                origin.refused(now_s, now_s - sent_s, _bounded(error.retry_after_s, self.retry))
            elif isinstance(error, ConnectFailedError | TransferStalledError):
                origin.counts.troubles += 1
            wait_s = self._wait_s(error, failures, now_s - began_s)
            if wait_s is None:
                raise error.after(attempts, byte_range)
            budget_s = origin.budget.book(now_s)
            if now_s - began_s + budget_s > self.retry.deadline_s:
                origin.budget.give_back()
                raise error.after(attempts, byte_range)
            origin.counts.retries += 1
            origin.counts.resumed += so_far is not None
            error.__traceback__ = None  # its frames hold what came, and this frame holds it
            del error
            await _wait(origin, wait_s, budget_s)

    def _ask(self, key: str, byte_range: ByteRange | None, known: SampleRef | None) -> Coroutine[Any, Any, bytes]:
        """One attempt; twice where it is late."""
        if not self._may_hedge:
            return self.base.get(key, byte_range)
        if byte_range is not None:
            nbytes: int | None = byte_range[1] - byte_range[0]
        else:
            nbytes = None if known is None else known.size_bytes
        hedges = self._hedges
        if hedges is None or hedges.loop is not asyncio.get_running_loop():
            hedges = self._hedges = Hedges(self._origin_state(), self.retry.hedge_share)
        return hedges.get(partial(self.base.get, key, byte_range), nbytes)

    async def size(self, key: str) -> int:
        """Length of the object in bytes. Raises `StoreError`."""
        return await self.base.size(key)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """As the base lists."""
        return self.base.list(prefix)

    @property
    def read_now(self) -> Callable[[str, ByteRange | None], bytes] | None:
        """That of a base that has one, once: who calls it asks again by `get`."""
        return getattr(self.base, "read_now", None)

    @property
    def shared_parts(self) -> tuple[Closable, ...]:
        """The base's connections, which other loaders may use too."""
        return parts_of(self.base)

    async def aclose(self) -> None:
        """Close the base."""
        await self.base.aclose()

    def _origin_state(self) -> OriginState:
        if self._state is None:
            self._state = state_of(self.base.origin)
        return self._state

    def _wait_s(self, error: StoreError, failures: int, elapsed_s: float) -> float | None:
        """Seconds until the next attempt; None where there is to be none."""
        retry = self.retry
        most = retry.attempts
        if isinstance(error, ConnectFailedError) and not self._origin_state().has_answered:
            most = min(most, _ATTEMPTS_AT_FIRST)
        wait_s = retry.wait_s(failures, random(), throttled=isinstance(error, ThrottledError))
        if error.retry_after_s is not None:
            if error.retry_after_s > retry.longest_retry_after_s:
                return None
            wait_s = max(wait_s, error.retry_after_s)
        if not error.is_transient or failures >= most or elapsed_s + wait_s > retry.deadline_s:
            return None
        return wait_s

    def __repr__(self) -> str:
        return repr(self.base)

    def __reduce__(self) -> tuple[object, ...]:
        return RetryingStore, (self.base, self.retry)


async def _turn(known: OriginState) -> None:
    """Wait for the origin's pace; at once while nothing was refused."""
    wait_s = known.pace.book(monotonic())
    if wait_s > 0:
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            known.pace.give_back()
            raise


async def _wait(known: OriginState, wait_s: float, budget_s: float) -> None:
    """Wait before another attempt; no longer than ``wait_s`` once the origin answers well again."""
    try:
        await asyncio.sleep(wait_s)
        left_s = budget_s - wait_s
        while left_s > 0 and not known.budget.is_solvent:
            await asyncio.sleep(min(left_s, _LOOK_S))
            left_s -= _LOOK_S
    except asyncio.CancelledError:
        known.budget.give_back()
        raise


def _bounded(retry_after_s: float | None, retry: Retry) -> float | None:
    """What all others wait, too: no store may stop a run for a year by one answer."""
    return None if retry_after_s is None else min(retry_after_s, retry.longest_retry_after_s)


def _has_moved(before: Partial | None, now: Partial | None) -> bool:
    return now is not None and len(now.body) - (len(before.body) if before is not None else 0) >= PROGRESS_BYTES
