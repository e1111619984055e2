"""A late request is made once more: the first answer counts, and nothing of the other is left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import ConnectFailedError, ObjectNotFoundError, StoreError, ThrottledError
from aioloader.storage.policies.hedging import Hedges
from aioloader.storage.policies.origin_state import OriginState
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.testing import Fault, FaultServer
from aioloader.types import SampleRef

if TYPE_CHECKING:
    from collections.abc import Callable

    import aioloader as al

LATE_S = 0.04
SIZE = 100


def origin_with_a_past(*, allowed: int = 10) -> OriginState:
    """Requests of `SIZE` bytes took half of `LATE_S` so far."""
    origin = OriginState()
    tail = origin.tails.of(SIZE)
    assert tail is not None
    for _ in range(128):
        tail.record(LATE_S / 2)
    for _ in range(allowed):
        origin.allowance.earn(1.0)
    return origin


class Answers:
    """One after another: how long each takes, and a body or an error."""

    def __init__(self, *answers: tuple[float, bytes | Exception]) -> None:
        self.answers = list(answers)
        self.begun = 0
        self.cancelled: list[int] = []

    async def __call__(self) -> bytes:
        number, self.begun = self.begun, self.begun + 1
        wait_s, answer = self.answers[number]
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer


async def nothing_is_left() -> None:
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_second_comes_first_and_the_first_is_cancelled() -> None:
    origin, ask = origin_with_a_past(), Answers((30, b"first"), (0, b"second"))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"second"
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    assert ask.cancelled == [0]
    assert (origin.counts.hedged, origin.counts.hedges_won) == (1, 1)
    await nothing_is_left()


async def test_the_first_comes_first_after_all_and_the_second_is_cancelled() -> None:
    origin, ask = origin_with_a_past(), Answers((0.3, b"first"), (30, b"second"))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"first"
    await nothing_is_left()
    assert ask.cancelled == [1]
    assert (origin.counts.hedged, origin.counts.hedges_won) == (1, 0)


async def test_a_quick_one_is_made_once() -> None:
    origin, ask = origin_with_a_past(), Answers((0, b"first"))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"first"
    assert ask.begun == 1
    assert origin.counts.hedged == 0


async def test_where_the_first_fails_the_second_is_waited_for() -> None:
    lost = ConnectFailedError("reset", "key")
    origin, ask = origin_with_a_past(), Answers((0.2, lost), (0.25, b"second"))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"second"
    assert (origin.counts.hedged, origin.counts.hedges_won) == (1, 1)
    await nothing_is_left()


async def test_where_both_fail_the_first_ones_error_is_raised() -> None:
    first, second = ConnectFailedError("reset", "first"), ConnectFailedError("reset", "second")
    ask = Answers((0.3, first), (0.1, second))
    with pytest.raises(ConnectFailedError, match="first"):
        await Hedges(origin_with_a_past(), Retry()).get(ask, SIZE)
    ask = Answers((0.2, first), (0.4, second))
    with pytest.raises(ConnectFailedError, match="first"):
        await Hedges(origin_with_a_past(), Retry()).get(ask, SIZE)
    await nothing_is_left()


async def test_a_final_answer_is_not_waited_over() -> None:
    ask = Answers((0.2, ObjectNotFoundError("there is none", "first")), (30, b"second"))
    with pytest.raises(ObjectNotFoundError):
        await Hedges(origin_with_a_past(), Retry()).get(ask, SIZE)
    await nothing_is_left()
    assert ask.cancelled == [1]


async def test_a_second_that_fails_is_forgotten() -> None:
    origin, ask = origin_with_a_past(), Answers((0.4, b"first"), (0, ConnectFailedError("reset", "second")))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"first"
    assert ask.begun == 2
    assert origin.counts.hedges_won == 0


async def test_a_second_that_is_refused_sets_the_pace() -> None:
    origin, ask = origin_with_a_past(), Answers((0.3, b"first"), (0, ThrottledError("slow down", "second")))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"first"
    assert origin.counts.throttled == 1


async def test_who_is_throttled_asks_once() -> None:
    origin, ask = origin_with_a_past(), Answers((0.3, b"first"))
    origin.refused(0.0, 0.01, None)
    origin.pace.per_s = 100.0
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"first"
    assert ask.begun == 1


async def test_cancelling_ends_both() -> None:
    origin, ask = origin_with_a_past(), Answers((30, b"first"), (30, b"second"))
    task = asyncio.ensure_future(Hedges(origin, Retry()).get(ask, SIZE))
    await asyncio.sleep(0.4)
    assert ask.begun == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await nothing_is_left()
    assert sorted(ask.cancelled) == [0, 1]


async def test_cancelling_while_the_second_is_waited_for_ends_both() -> None:
    ask = Answers((0.1, ConnectFailedError("reset", "key")), (30, b"second"))
    task = asyncio.ensure_future(Hedges(origin_with_a_past(), Retry()).get(ask, SIZE))
    await asyncio.sleep(0.2)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await nothing_is_left()
    assert ask.cancelled == [1]


async def test_a_second_that_hangs_is_not_waited_for() -> None:
    loop = asyncio.get_running_loop()
    ask = Answers((0.2, ConnectFailedError("reset", "first")), (30, b"second"))
    began_s = loop.time()
    with pytest.raises(ConnectFailedError, match="first"):
        await Hedges(origin_with_a_past(), Retry()).get(ask, SIZE)
    assert loop.time() - began_s < 4.5
    await nothing_is_left()
    assert ask.cancelled == [1]


@pytest.mark.parametrize("instead", ["a body", "an error", "a store's error"])
async def test_a_store_that_is_not_cancelled_leaves_no_trace(instead: str) -> None:
    """What it does when it is cancelled must not cancel the task's next request, nor a time limit around it."""
    task = asyncio.current_task()
    assert task is not None
    origin = origin_with_a_past()
    begun: list[int] = []

    async def ask() -> bytes:
        begun.append(len(begun))
        if len(begun) % 2 == 0:
            return b"second"
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            if instead == "a body":
                return b"first"
            raise (ValueError if instead == "an error" else ConnectFailedError)("cancelled") from None
        raise AssertionError

    for _ in range(3):
        body = await Hedges(origin, Retry()).get(ask, SIZE)
        assert body == (b"first" if instead == "a body" else b"second")
        assert task.cancelling() == 0
    async with asyncio.timeout(10):
        await Hedges(origin, Retry()).get(ask, SIZE)


async def test_a_task_that_was_cancelled_before_is_not_ended_by_a_win() -> None:
    async def survives() -> bytes:
        with contextlib.suppress(asyncio.CancelledError):  # which does not say so to the task
            await asyncio.sleep(30)
        ask = Answers((30, b"first"), (0, b"second"))
        return await Hedges(origin_with_a_past(), Retry()).get(ask, SIZE)

    task = asyncio.ensure_future(survives())
    await asyncio.sleep(0.05)
    task.cancel()
    assert await task == b"second"


async def test_a_refusal_that_a_second_made_good_is_heard() -> None:
    refused = ThrottledError("slow down", "first")
    refused.retry_after_s = 2.0
    origin, ask = origin_with_a_past(), Answers((0.2, refused), (0.25, b"second"))
    assert await Hedges(origin, Retry()).get(ask, SIZE) == b"second"
    assert origin.counts.throttled == 1
    assert not origin.pace.is_free


async def test_bodies_that_turned_out_large_are_not_asked_for_twice() -> None:
    origin = origin_with_a_past()
    tail = origin.tails.of(None)
    assert tail is not None
    for _ in range(128):
        tail.record(LATE_S / 2)
    hedges = Hedges(origin, Retry())
    large = Answers((0, bytes(9_000_000)))
    assert len(await hedges.get(large, None)) == 9_000_000
    ask = Answers((0.3, b"first"))
    assert await hedges.get(ask, None) == b"first"
    assert ask.begun == 1


async def test_a_timeout_around_it_stays_a_timeout() -> None:
    ask = Answers((30, b"first"), (30, b"second"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await Hedges(origin_with_a_past(), Retry()).get(ask, SIZE)
    assert ask.begun == 2


async def test_at_most_the_share_is_made_twice() -> None:
    """All of them are late: asking each twice would double what an overloaded server has to do."""
    origin = origin_with_a_past(allowed=0)
    hedges = Hedges(origin, Retry())
    n = 400

    async def ask() -> bytes:
        await asyncio.sleep(3 * LATE_S)
        return b"body"

    for _ in range(4):
        await asyncio.gather(*(hedges.get(ask, SIZE) for _ in range(n // 4)))
    assert 1 <= origin.counts.hedged <= 0.05 * n


async def test_no_more_bytes_are_asked_twice_than_the_bound() -> None:
    origin = origin_with_a_past()
    size = 3_000_000
    tail = origin.tails.of(size)
    assert tail is not None
    for _ in range(128):
        tail.record(LATE_S / 2)
    hedges = Hedges(origin, Retry())
    asks = [Answers((0.4, b"first"), (0.4, b"second")) for _ in range(6)]
    await asyncio.gather(*(hedges.get(ask, size) for ask in asks))
    assert sum(ask.begun - 1 for ask in asks) == 2  # 2 x 3 MB are below 8 MiB, 3 are not


async def test_with_a_real_server_a_silent_answer_is_overtaken(http: Callable[..., al.HTTPStore]) -> None:
    objects = {f"{number:03}": bytes(SIZE) for number in range(140)}
    silent = {"139": [Fault(kind="silent")]}
    async with FaultServer(objects, silent) as server:
        store = RetryingStore(http(idle_timeout_s=30.0, floor_window_s=30.0).at(server.url), Retry(deadline_s=60))
        loop = asyncio.get_running_loop()
        for number in range(139):
            await store.get(f"{number:03}", None, SampleRef(index=number, key=f"{number:03}", size_bytes=SIZE))
        began_s = loop.time()
        body = await store.get("139", None, SampleRef(index=139, key="139", size_bytes=SIZE))
        assert loop.time() - began_s < 10
        assert body == objects["139"]
        assert server.requests["139"] == 2
        await store.aclose()


@pytest.mark.parametrize("retry", [Retry(hedge_share=0.0), Retry(attempts=1)])
async def test_who_does_not_want_it_is_asked_once(http: Callable[..., al.HTTPStore], retry: Retry) -> None:
    objects = {f"{number:03}": bytes(SIZE) for number in range(140)}
    silent = {"139": [Fault(kind="silent")]}
    async with FaultServer(objects, silent) as server:
        store = RetryingStore(http(idle_timeout_s=0.4).at(server.url), retry)
        for number in range(139):
            await store.get(f"{number:03}")
        if retry.attempts == 1:
            with pytest.raises(StoreError):
                await store.get("139")
        else:
            assert await store.get("139") == objects["139"]
        assert server.requests["139"] == min(retry.attempts, 2)
        await store.aclose()
