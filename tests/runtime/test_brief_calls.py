"""Calls that share a hop to a thread while they are quick, and get threads of their own when they are not."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from aioloader.runtime.brief_calls import BriefCalls

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def calls(quick_threads: int | None = None) -> Iterator[BriefCalls]:
    brief = BriefCalls("aioloader-test", 8, first_guess_s=0.00001, quick_threads=quick_threads)
    try:
        yield brief
    finally:
        brief.close()


async def test_each_caller_gets_its_own_result_or_error() -> None:
    def halve(number: int) -> int:
        if number % 2:
            raise ValueError(number)
        return number // 2

    with calls(1) as brief:
        found = await asyncio.gather(*(brief.run(halve, number) for number in range(50)), return_exceptions=True)
    assert [one if isinstance(one, int) else str(one) for one in found] == [
        str(number) if number % 2 else number // 2 for number in range(50)
    ]


async def test_quick_calls_stay_in_one_thread() -> None:
    with calls(1) as brief:
        idents = [await asyncio.gather(*(brief.run(threading.get_ident) for _ in range(20))) for _ in range(5)]
    assert len({ident for some in idents for ident in some}) == 1


async def test_slow_calls_get_more_threads() -> None:
    with calls(1) as brief:
        for _ in range(3):
            await brief.run(time.sleep, 0.02)
        barrier = threading.Barrier(6)
        await asyncio.gather(*(brief.run(barrier.wait, 10) for _ in range(6)))  # they meet only side by side


async def test_a_cancelled_call_that_has_not_begun_never_does() -> None:
    begun: list[str] = []
    release = threading.Event()
    with calls(1) as brief:
        first = asyncio.ensure_future(brief.run(release.wait, 10))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(brief.run(begun.append, "second"))
        await asyncio.sleep(0)
        second.cancel()
        release.set()
        assert await first
        await brief.run(begun.append, "third")
        assert begun == ["third"]
        with pytest.raises(asyncio.CancelledError):
            await second


async def test_closing_cancels_who_waits_and_starts_no_thread() -> None:
    release = threading.Event()
    with calls(1) as brief:
        first = asyncio.ensure_future(brief.run(release.wait, 10))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(brief.run(threading.get_ident))
        await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await first  # what runs is heard to its end
