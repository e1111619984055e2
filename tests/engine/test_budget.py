"""The shared capacity: never overdrawn beyond one holder's first, first come first served, and nothing leaks."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioloader.engine.budget import Account, Budget

CEILING_S = 10.0


async def settle() -> None:
    """Let every callback and task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_within_the_capacity_nobody_waits_and_all_is_counted() -> None:
    budget = Budget(10)
    account = budget.open()
    await account.reserve(4)
    await account.reserve(6)
    assert (budget.used, budget.peak, account.used) == (10, 10, 10)
    account.release(4)
    account.release(6)
    assert (budget.used, budget.peak, account.used) == (0, 10, 0)


async def test_one_that_is_larger_than_all_passes_alone() -> None:
    budget = Budget(10)
    account = budget.open()
    await account.reserve(25)
    second = asyncio.create_task(account.reserve(1))
    await settle()
    assert not second.done()
    account.release(25)
    await second
    third = asyncio.create_task(account.reserve(25))
    await settle()
    assert not third.done()  # not beside the other
    account.release(1)
    await third
    assert budget.used == 25


async def test_waiters_of_an_account_are_served_in_the_order_they_came() -> None:
    budget = Budget(10)
    account = budget.open()
    await account.reserve(10)
    served: list[int] = []

    async def wait(amount: int) -> None:
        await account.reserve(amount)
        served.append(amount)

    tasks = [asyncio.create_task(wait(amount)) for amount in (8, 1, 2)]
    await settle()
    account.release(2)
    await settle()
    assert served == []  # 1 and 2 would fit, but 8 came first
    account.release(7)
    await settle()
    assert served == [8, 1]
    account.release(9)
    await asyncio.gather(*tasks)
    assert served == [8, 1, 2]


async def test_one_that_comes_later_does_not_overtake_a_waiter() -> None:
    budget = Budget(10)
    account = budget.open()
    await account.reserve(5)
    large = asyncio.create_task(account.reserve(8))
    await settle()
    small = asyncio.create_task(account.reserve(1))
    await settle()
    assert not small.done()
    account.release(5)
    await asyncio.gather(large, small)


async def test_an_account_that_holds_nothing_starts_beside_one_that_holds_all() -> None:
    budget = Budget(10)
    full, other = budget.open(), budget.open()
    await full.reserve(10)
    async with asyncio.timeout(CEILING_S):
        await other.reserve(3)
    waiting = asyncio.create_task(other.reserve(1))
    await settle()
    assert not waiting.done()
    other.release(3)
    await waiting


async def test_what_one_account_releases_wakes_the_waiters_of_another() -> None:
    budget = Budget(10)
    first, second = budget.open(), budget.open()
    await second.reserve(1)
    await first.reserve(9)
    waiting = asyncio.create_task(second.reserve(5))
    await settle()
    assert not waiting.done()
    first.release(9)
    await waiting
    assert (first.used, second.used) == (0, 6)


async def test_an_accounts_own_limit_holds_below_the_capacity() -> None:
    budget = Budget(100)
    limited, free = budget.open(10), budget.open()
    await limited.reserve(8)
    waiting = asyncio.create_task(limited.reserve(3))
    await settle()
    assert not waiting.done()
    await free.reserve(80)
    limited.release(8)
    await waiting
    limited.release(3)
    await limited.reserve(15)  # alone, as with the capacity
    assert budget.used == 95


async def test_a_waiter_that_is_cancelled_holds_nothing_and_lets_the_next_pass() -> None:
    budget = Budget(10)
    account = budget.open()
    await account.reserve(9)
    large, small = asyncio.create_task(account.reserve(8)), asyncio.create_task(account.reserve(1))
    await settle()
    large.cancel()
    await small
    assert large.cancelled() or large.cancelling()
    assert (budget.used, bool(account.waiters)) == (10, False)


async def test_cancelled_in_the_moment_of_the_grant_nothing_is_held() -> None:
    budget = Budget(10)
    account = budget.open()
    await account.reserve(10)
    granted = asyncio.create_task(account.reserve(4))
    await settle()
    account.release(10)
    account._serve()  # the grant is made; the task has not run since
    assert budget.used == 4
    granted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await granted
    assert (budget.used, account.used) == (0, 0)


async def test_closing_frees_what_was_held_wakes_others_and_is_idempotent() -> None:
    budget = Budget(10)
    first, second = budget.open(), budget.open()
    await second.reserve(2)
    await first.reserve(8)
    waiting = asyncio.create_task(second.reserve(8))
    await settle()
    first.close()
    await waiting
    first.close()
    first.release(8)  # a decode that ended after its stream
    assert (budget.used, first.used, second.used) == (10, 0, 10)


async def test_growing_raises_the_capacity_and_never_lowers_it() -> None:
    budget = Budget(2)
    budget.grow(5)
    budget.grow(3)
    account = budget.open()
    await account.reserve(1)
    await account.reserve(4)
    assert (budget.capacity, budget.used) == (5, 5)


async def test_releases_from_many_threads_lose_no_waiter() -> None:
    budget = Budget(8)
    accounts = [budget.open() for _ in range(4)]
    done: list[int] = []
    threads: list[threading.Thread] = []

    async def stream(account: Account) -> None:
        for _ in range(200):
            await account.reserve(3)
            thread = threading.Thread(target=account.release, args=(3,))
            threads.append(thread)
            thread.start()
        done.append(1)

    async with asyncio.timeout(6 * CEILING_S), asyncio.TaskGroup() as group:
        for account in accounts:
            group.create_task(stream(account))
            group.create_task(stream(account))
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(done) == 8
    assert budget.used == 0
    # Beyond the capacity only the first unit of each account that held nothing.
    assert budget.peak <= 8 + 4 * 3


@dataclass
class Model:
    """What should be true of one account."""

    account: Account
    held: list[int] = field(default_factory=list)
    asked: list[tuple[int, asyncio.Task[None]]] = field(default_factory=list)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "release", "cancel", "thread"]), st.integers(0, 2), st.integers(1, 14)
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_any_history_keeps_the_capacity_the_order_and_the_count(steps: list[tuple[str, int, int]]) -> None:
    asyncio.run(_run_history(steps))


async def _run_history(steps: list[tuple[str, int, int]]) -> None:
    capacity = 10
    budget = Budget(capacity)
    models = [Model(budget.open()) for _ in range(3)]

    async def check() -> None:
        await settle()
        for model in models:
            # Served in order: the granted are a prefix of the asked.
            while model.asked and model.asked[0][1].done():
                model.held.append(model.asked.pop(0)[0])
            assert not any(task.done() for _, task in model.asked), "a later waiter overtook"
            assert model.account.used == sum(model.held)
            if model.asked:
                first = model.asked[0][0]
                assert model.held, "one that holds nothing waits"
                assert budget.used + first > capacity, "one that would fit waits"
            assert bool(model.account.waiters) == bool(model.asked)
        assert budget.used == sum(sum(model.held) for model in models)
        # More than the capacity is held only by those who got their first while holding nothing.
        excess = [held for model in models for held in model.held[1:]]
        assert not excess or sum(excess) <= capacity

    for action, which, amount in steps:
        model = models[which]
        if action == "reserve":
            model.asked.append((amount, asyncio.create_task(model.account.reserve(amount))))
        elif action == "cancel" and model.asked:
            _, task = model.asked.pop(amount % len(model.asked))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        elif model.held and action == "release":
            model.account.release(model.held.pop(0))
        elif model.held and action == "thread":
            await asyncio.to_thread(model.account.release, model.held.pop(0))
        await check()
    for model in models:  # whatever happened, all that waits is served once the others let go
        while model.held or model.asked:
            if model.held:
                model.account.release(model.held.pop(0))
            await check()
    assert budget.used == 0
