"""One call renews the credentials for all who were refused, and what comes of it is all that they get."""

from __future__ import annotations

import asyncio

import pytest

from aioloader.storage.policies.origin_state import state_of
from aioloader.storage.renewal import Renewal


class Source:
    """Gives credentials when it is let go, well or not."""

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0
        self.is_asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def renew(self) -> bool:
        """The next outcome."""
        self.calls += 1
        self.is_asked.set()
        await self.go_on.wait()
        return self.outcomes.pop(0)


def renewal_by(source: Source, tries: int = 1) -> Renewal:
    return Renewal(source.renew, origin="test://renewal", waits_s=(0.0,) * tries)


@pytest.mark.parametrize("outcome", [True, False])
async def test_all_who_wait_get_what_the_first_got(outcome: bool) -> None:
    source, state = Source(outcome), state_of("test://renewal")
    renewal = renewal_by(source)
    waiting = [asyncio.create_task(renewal.is_newer_than(0)) for _ in range(64)]
    await source.is_asked.wait()
    source.go_on.set()
    assert await asyncio.gather(*waiting) == [outcome] * 64
    assert source.calls == 1
    assert renewal.generation == outcome
    assert state.counts.refreshed == outcome


async def test_who_was_refused_with_older_ones_asks_nobody() -> None:
    source = Source(True)
    source.go_on.set()
    renewal = renewal_by(source)
    assert await renewal.is_newer_than(0)
    assert await renewal.is_newer_than(0)
    assert source.calls == 1


async def test_a_failure_is_tried_again_and_then_by_the_next_who_is_refused() -> None:
    source = Source(False, False, False, True)
    source.go_on.set()
    renewal = renewal_by(source, tries=2)
    assert not await renewal.is_newer_than(0)
    assert source.calls == 2
    assert await renewal.is_newer_than(0)
    assert source.calls == 4


async def test_cancelling_the_one_who_asks_leaves_it_to_the_next() -> None:
    source = Source(True)
    renewal = renewal_by(source)
    first, second = (asyncio.create_task(renewal.is_newer_than(0)) for _ in range(2))
    await source.is_asked.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.go_on.set()
    assert await second
    assert source.calls == 2


async def test_a_renewal_counts_for_the_loader_of_now() -> None:
    """Its store may be older: what the process knows of an origin ends with the last loader that asks it."""
    source = Source(True)
    source.go_on.set()
    renewal = renewal_by(source)
    state = state_of("test://renewal")
    assert await renewal.is_newer_than(0)
    assert state.counts.refreshed == 1
