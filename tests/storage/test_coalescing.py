"""What several want at the same time is asked for once, and each has its own bytes, error and cancelling."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

import aioloader as al
from aioloader.errors import ObjectNotFoundError, RangeNotHonouredError, ServerFailedError, StoreError
from aioloader.storage.policies.coalescing import CoalescingStore
from aioloader.storage.policies.range_groups import GAP_BYTES
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.stack import with_policies
from aioloader.testing import Fault, FaultServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


BODY = np.random.default_rng(1).bytes(400_000)
PART = 1000
RETRY = Retry(attempts=2, base_s=0.01, hedge_share=0.0)


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """Slow enough that all who are started together wait together."""
    async with FaultServer({"a": BODY, "b": BODY[::-1]}, latency_s=0.1) as running:
        yield running


@pytest.fixture
async def store(server: FaultServer, http: Callable[..., al.HTTPStore]) -> AsyncIterator[CoalescingStore]:
    """With the policies of a loader around it."""
    made = with_policies(http().at(server.url), retry=RETRY)
    assert isinstance(made, CoalescingStore)
    yield made
    await made.aclose()


async def test_one_object_is_fetched_once_for_all_who_wait(server: FaultServer, store: CoalescingStore) -> None:
    bodies = await asyncio.gather(*(store.get("a") for _ in range(10)), store.get("b"))
    assert bodies == [BODY] * 10 + [BODY[::-1]]
    assert dict(server.requests) == {"a": 1, "b": 1}
    assert await store.get("a") == BODY
    assert server.requests["a"] == 2  # nothing is kept


async def test_who_leads_may_be_cancelled(server: FaultServer, store: CoalescingStore) -> None:
    tasks = [asyncio.ensure_future(store.get("a")) for _ in range(4)]
    await asyncio.sleep(0.03)
    tasks[0].cancel()
    tasks[2].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome if isinstance(outcome, bytes) else type(outcome) for outcome in outcomes] == [
        asyncio.CancelledError,
        BODY,
        asyncio.CancelledError,
        BODY,
    ]
    assert server.requests["a"] == 2  # the first one's, which was dropped, and one for the others


async def test_all_hear_of_the_failure_each_in_its_own_error(store: CoalescingStore) -> None:
    outcomes = await asyncio.gather(*(store.get("none") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, ObjectNotFoundError) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert len({str(outcome) for outcome in outcomes}) == 1


async def test_ranges_side_by_side_are_one_request(server: FaultServer, store: CoalescingStore) -> None:
    ranges = [(number * PART, (number + 1) * PART) for number in range(20)]
    ranges += [(300_000, 301_000)]
    bodies = await asyncio.gather(*(store.get("a", byte_range) for byte_range in ranges))
    assert bodies == [BODY[start:stop] for start, stop in ranges]
    assert sorted(server.ranges["a"]) == ["bytes=0-19999", "bytes=300000-300999"]


async def test_a_gap_is_bridged_up_to_a_size(server: FaultServer, store: CoalescingStore) -> None:
    near, far = (PART + GAP_BYTES, 2 * PART + GAP_BYTES), (4 * GAP_BYTES, 4 * GAP_BYTES + PART)
    bodies = await asyncio.gather(*(store.get("a", byte_range) for byte_range in ((0, PART), near, far)))
    assert bodies == [BODY[:PART], BODY[slice(*near)], BODY[slice(*far)]]
    assert server.requests["a"] == 2


async def test_ranges_of_several_objects_stay_apart(server: FaultServer, store: CoalescingStore) -> None:
    bodies = await asyncio.gather(*(store.get(key, (0, PART)) for key in ("a", "b", "a", "b")))
    assert bodies == [BODY[:PART], BODY[::-1][:PART]] * 2
    assert dict(server.requests) == {"a": 1, "b": 1}


async def test_a_range_beyond_the_end_fails_alone(store: CoalescingStore) -> None:
    size = len(BODY)
    ranges = [(size - PART, size), (size - 10, size + 10), (size + 100, size + 200)]
    tasks = [asyncio.ensure_future(store.get("a", byte_range)) for byte_range in ranges]
    assert await asyncio.gather(*tasks[:2]) == [BODY[-PART:], BODY[-10:]]
    with pytest.raises(RangeNotHonouredError) as caught:
        await tasks[2]
    assert caught.value.byte_range == ranges[2]


async def test_a_failing_group_was_tried_as_often_as_one_is(http: Callable[..., al.HTTPStore]) -> None:
    faults = {"a": [Fault(kind="status", status=500)] * 9}
    async with FaultServer({"a": BODY}, faults, latency_s=0.05) as server:
        store = with_policies(http().at(server.url), retry=RETRY)
        ranges = [(0, PART), (PART, 2 * PART)]
        outcomes = await asyncio.gather(*(store.get("a", one) for one in ranges), return_exceptions=True)
        assert all(isinstance(outcome, ServerFailedError) for outcome in outcomes)
        assert [outcome.byte_range for outcome in outcomes if isinstance(outcome, ServerFailedError)] == ranges
        assert server.requests["a"] == RETRY.attempts
        await store.aclose()


async def test_one_of_a_group_may_be_cancelled_and_all_of_them(server: FaultServer, store: CoalescingStore) -> None:
    ranges = [(number * PART, (number + 1) * PART) for number in range(3)]
    tasks = [asyncio.ensure_future(store.get("a", byte_range)) for byte_range in ranges]
    await asyncio.sleep(0.03)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [BODY[slice(*one)] for one in ranges[1:]]
    assert server.requests["a"] == 1
    tasks = [asyncio.ensure_future(store.get("a", byte_range)) for byte_range in ranges]
    await asyncio.sleep(0.03)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert not [task for task in asyncio.all_tasks() if "_get_group" in repr(task)]


class GoneError(StoreError):
    """A user's error with a constructor of its own."""

    skippable = False

    def __init__(self, key: str) -> None:
        super().__init__("it is gone", key)


async def test_an_error_of_the_users_reaches_all_who_wait() -> None:
    class Store(al.MemoryStore):
        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            await asyncio.sleep(0.01)
            raise GoneError(key)

    store = with_policies(Store(), retry=RETRY)
    outcomes = await asyncio.gather(*(store.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [GoneError] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert {str(outcome) for outcome in outcomes} == {"a: fetch failed: it is gone."}
