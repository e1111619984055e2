"""One request made again: failures that may pass are repeated, refusals answered by pacing, within a budget."""

from __future__ import annotations

import asyncio
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from aioloader.errors import ConnectFailedError, StoreError, ThrottledError, TransferStalledError
from aioloader.types import Partial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aioloader.storage.policies.origin_state import OriginState
    from aioloader.storage.policies.retry import Retry
    from aioloader.types import ByteRange

T = TypeVar("T")

PROGRESS_BYTES: Final = 65_536
"""So much more of a body, and its attempts are counted anew: less would let a server keep us busy for ever."""

_LOOK_S: Final = 0.5
_TURN_S: Final = 0.25
_ATTEMPTS_AT_FIRST: Final = 2
"""Connections tried to an origin that never answered: its address is likely wrong."""


async def repeated(
    origin: OriginState,
    retry: Retry,
    attempt: Callable[[Partial | None], Awaitable[T]],
    byte_range: ByteRange | None = None,
    key: str = "",
    failed: tuple[StoreError, float] | None = None,
) -> T:
    """What ``attempt`` gives, asked as often as ``retry`` says; it is told what came of a body that broke off.
    ``failed`` is the error of an attempt that was made already, and when that began (monotonic).

    Which attempt it is can be looked up by ``key`` meanwhile, from the second on. Raises the last attempt's
    `StoreError`, which says how many there were. Cancelling ends the attempt or the wait.
    """
    began_s = monotonic() if failed is None else failed[1]
    attempts = failures = furthest = 0
    partial: Partial | None = None
    try:
        while True:
            if failed is not None:
                (error, sent_s), failed = failed, None
                attempts += 1
            else:
                if not origin.pace.is_free:
                    await _turn(origin)
                attempts += 1
                sent_s = monotonic()
                try:
                    answer = await attempt(partial)
                except StoreError as exc:
                    error = exc
                else:
                    origin.answered(monotonic())
                    return answer
            now_s = monotonic()
            partial = error.partial if isinstance(error.partial, Partial) else None
            reached = 0 if partial is None else len(partial.body)
            has_moved = reached - furthest >= PROGRESS_BYTES  # beyond all attempts: a server may cut each at one place
            failures, furthest = (1, reached) if has_moved else (failures + 1, furthest)
            if isinstance(error, ThrottledError):
                origin.refused(now_s, now_s - sent_s, _bounded(error.retry_after_s, retry))
            elif isinstance(error, ConnectFailedError | TransferStalledError):
                origin.counts.troubles += 1
            wait_s = _wait_s(origin, retry, error, failures, now_s - began_s)
            is_refusal = isinstance(error, ThrottledError)
            budget_s = 0.0 if wait_s is None else origin.budget.book(now_s, throttled=is_refusal)
            if wait_s is not None and now_s - began_s + budget_s > retry.deadline_s:
                origin.budget.give_back(throttled=is_refusal)
                wait_s = None
            if wait_s is None:
                partial = None  # the traceback keeps this frame
                raise error.after(attempts, byte_range)
            origin.counts.retries += 1
            origin.counts.resumed += partial is not None
            origin.attempts[key] = attempts + 1
            error.__traceback__ = None  # its frames hold what came, and this frame holds it
            del error
            try:
                await _wait(origin, wait_s, budget_s)
            except asyncio.CancelledError:
                origin.budget.give_back(throttled=is_refusal)
                raise
    finally:
        if origin.attempts:
            origin.attempts.pop(key, None)


def _wait_s(origin: OriginState, retry: Retry, error: StoreError, failures: int, elapsed_s: float) -> float | None:
    """Seconds until the next attempt; None where there is to be none."""
    most = retry.attempts
    if isinstance(error, ConnectFailedError) and not origin.has_answered:
        most = min(most, _ATTEMPTS_AT_FIRST)
    wait_s = retry.wait_s(failures, random(), throttled=isinstance(error, ThrottledError))
    if error.retry_after_s is not None:
        if error.retry_after_s > retry.longest_retry_after_s:
            return None
        wait_s = max(wait_s, error.retry_after_s)
    if not error.is_transient or failures >= most or elapsed_s + wait_s > retry.deadline_s:
        return None
    return wait_s


async def _turn(known: OriginState) -> None:
    """Wait for the origin's pace; at once while nothing was refused."""
    place = known.pace.book(monotonic())
    try:
        wait_s = known.pace.wait_s(place, monotonic())
        while wait_s > 0:
            await asyncio.sleep(min(wait_s, _TURN_S))
            wait_s = known.pace.wait_s(place, monotonic())  # the pace may have risen
    except asyncio.CancelledError:
        known.pace.give_back()
        raise


async def _wait(known: OriginState, wait_s: float, budget_s: float) -> None:
    """Wait before another attempt; no longer than ``wait_s`` once the origin answers well again."""
    await asyncio.sleep(wait_s)
    left_s = budget_s - wait_s
    while left_s > 0 and not known.budget.is_solvent:
        await asyncio.sleep(min(left_s, _LOOK_S))
        left_s -= _LOOK_S


def _bounded(retry_after_s: float | None, retry: Retry) -> float | None:
    """What all others wait, too: no store may stop a run for a year by one answer."""
    return None if retry_after_s is None else min(retry_after_s, retry.longest_retry_after_s)
