"""The loop's side of a stream, over objects in memory: beginnings cut short, waits, what is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import numpy as np
import pytest

from aioloader.engine import shared as process
from aioloader.engine.iterate import EpochIterator
from aioloader.engine.job import Job
from aioloader.engine.session import Session
from aioloader.engine.stream import ThreadStream
from aioloader.errors import StalledError
from aioloader.runtime.loop import LoopLease

MakeJob = Callable[..., Job]
CEILING_S = 10.0


@pytest.fixture
def lease() -> Iterator[LoopLease]:
    lease = LoopLease()
    yield lease
    lease.release()


@pytest.fixture
def shared() -> Iterator[process.Shared]:
    shared = process.acquire()
    yield shared
    process.release(shared)
    shared.threads.join(CEILING_S)


def open_session(job: Job) -> Session:
    session = Session(job)
    session.begin()
    return session


def finish_fetching(session: Session) -> None:
    """Let the loop turn until every fetch that may run (none takes time here) has ended."""

    async def turn() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    assert session.holdings.lease is not None
    session.holdings.lease.run(turn())


@pytest.mark.parametrize("close_first", [True, False])
def test_a_stream_that_is_closed_before_its_first_step_ends(
    make_job: MakeJob, lease: LoopLease, shared: process.Shared, *, close_first: bool
) -> None:
    stream = ThreadStream(make_job(), shared, lease, 0, 0)

    async def begin_and_end() -> None:
        if close_first:
            stream.state.close()
            stream.start()
        else:
            stream.start()
            stream.begin_end()  # in the same turn of the loop: the task has not run a line
        async with asyncio.timeout(CEILING_S):
            await stream.end()

    lease.run(begin_and_end())
    assert not shared.threads._lanes
    assert not shared.bodies._accounts
    assert not any(budget._accounts for budget in shared._origins.values())


def test_iterators_that_are_dropped_at_once_leave_nothing_to_wait_for(make_job: MakeJob) -> None:
    session = open_session(make_job(close_timeout_s=CEILING_S))
    for epoch in range(50):
        EpochIterator(session, epoch, 0, None)
    started = monotonic()
    session.close()
    assert monotonic() - started < CEILING_S / 2


def test_a_consumer_that_was_away_longer_than_the_limit_is_not_stalled(make_job: MakeJob) -> None:
    entered, opened = threading.Semaphore(0), threading.Event()

    def decode(data: bytes) -> Any:
        if int(data) >= 4:
            entered.release()
            assert opened.wait(CEILING_S)
        return np.zeros(2)

    job = make_job(8, 4, decode=decode, stall_timeout_s=CEILING_S)
    session = open_session(job)
    batches = EpochIterator(session, 0, 0, None)
    assert next(batches).step == 0
    finish_fetching(session)
    assert entered.acquire(timeout=CEILING_S)
    assert entered.acquire(timeout=CEILING_S)
    batches._relay.streams[0].state.last_progress -= 2 * CEILING_S  # validation, a checkpoint, a breakpoint
    threading.Timer(0.05, opened.set).start()
    assert next(batches).step == 1
    session.close()


def test_a_wait_without_any_progress_is_a_stall_that_names_the_sample(make_job: MakeJob) -> None:
    opened = threading.Event()

    def decode(data: bytes) -> Any:
        assert opened.wait(CEILING_S)
        return np.zeros(2)

    session = open_session(make_job(8, 4, decode=decode, stall_timeout_s=0.1))
    with pytest.raises(StalledError, match=r"stall_timeout_s=0\.1: .*0000 \(decode, "):
        next(EpochIterator(session, 0, 0, None))
    opened.set()
    session.close()


def test_an_async_decoder_is_counted_once_a_sample_with_its_own_time(make_job: MakeJob) -> None:
    async def decode(data: bytes) -> Any:
        await asyncio.sleep(0.02)
        return np.full(2, int(data))

    job = make_job(8, 4, decode=decode)
    session = open_session(job)
    assert len(list(EpochIterator(session, 0, 0, None))) == 2
    session.close()
    assert job.counters.decode.latency.count == 8
    assert job.counters.decode.latency.total_s >= 8 * 0.02


@pytest.mark.parametrize(("body_bytes", "fetched"), [(None, 16), (400, 16), (5, 5)])
def test_what_was_set_for_bodies_bounds_how_many_wait_for_a_decoder(
    make_job: MakeJob, body_bytes: int | None, fetched: int
) -> None:
    entered, opened = threading.Event(), threading.Event()

    def decode(data: bytes) -> Any:
        entered.set()
        assert opened.wait(CEILING_S)
        return np.zeros(2)

    job = make_job(64, 4, decode=decode, body_bytes=body_bytes, look_ahead=16)
    session = open_session(job)
    batches = EpochIterator(session, 0, 0, None)
    assert entered.wait(CEILING_S)
    finish_fetching(session)
    # The bodies "0" to "9" and "10" to "15" take a byte or two each.
    assert job.counters.fetch.latency.count == fetched
    opened.set()
    assert len(list(batches)) == 16
    session.close()
