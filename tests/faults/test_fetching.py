"""One object from a server that does wrong: the right bytes or the right error, and how often it was asked."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.errors import (
    ConnectFailedError,
    ObjectChangedError,
    ObjectNotFoundError,
    RedirectRefusedError,
    RequestRefusedError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.storage.policies.repeating import PROGRESS_BYTES
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.testing import Fault, FaultServer
from tests.faults.drill import CLOUDS, HTTP, S3, Via, below

if TYPE_CHECKING:
    from tests.storage.conftest import NewStore

BODY = random.Random(0).randbytes(300_000)
HALF = len(BODY) // 2
QUICK = Retry(base_s=0.001, throttled_base_s=0.002)
KEY = "some/object.bin"


async def asked(
    http: NewStore,
    *faults: Fault,
    retry: Retry = QUICK,
    objects: dict[str, bytes] | None = None,
    more: dict[str, Any] | None = None,
) -> tuple[bytes | StoreError, FaultServer]:
    """What comes of one ``get``, and the server that was asked."""
    async with FaultServer(objects or {KEY: BODY}, {KEY: faults}) as server:
        options = {"idle_timeout_s": 0.5} | (more or {})
        store = RetryingStore(http(**options).at(server.url), retry)
        try:
            return await store.get(KEY), server
        except StoreError as exc:
            return exc, server
        finally:
            await store.aclose()


@dataclass(frozen=True)
class Recovered:
    """Faults after which the whole object comes, by so many requests, those with a range being ``ranges``."""

    id: str
    faults: tuple[Fault, ...]
    requests: int
    ranges: list[str] = field(default_factory=list)


def cut(at_bytes: int, kind: str = "cut") -> Fault:
    return Fault(kind=kind, at_bytes=at_bytes)


RECOVERED = [
    *(
        Recovered(f"{kind} at {at}", (cut(at, kind),), 2, [f"bytes={at}-{len(BODY) - 1}"] if at else [])
        for kind in ("cut", "reset", "stall")
        for at in (0, HALF)
    ),
    Recovered("cut at the last byte", (cut(len(BODY) - 1),), 2, [f"bytes={len(BODY) - 1}-{len(BODY) - 1}"]),
    Recovered(
        "cut three times",
        (cut(HALF), cut(1000), cut(0)),
        4,
        [f"bytes={at}-{len(BODY) - 1}" for at in (HALF, HALF + 1000, HALF + 1000)],
    ),
    *(Recovered(f"{status} twice", (Fault(kind="status", status=status),) * 2, 3) for status in (500, 502, 503, 504)),
    Recovered("429", (Fault(kind="throttle"),), 2),
    Recovered("no answer", (Fault(kind="silent"),), 2),
    Recovered("a resume that gets the whole", (cut(HALF), Fault(kind="ignored range")), 3, [f"bytes={HALF}-299999"]),
    Recovered("a resume that gets another range", (cut(HALF), Fault(kind="wrong range")), 3, [f"bytes={HALF}-299999"]),
    Recovered("a resume that gets half", (cut(HALF), Fault(kind="short range")), 3, [f"bytes={HALF}-299999"] * 2),
    Recovered("bytes behind the answer", (Fault(kind="extra bytes"),), 1),
]


@pytest.mark.parametrize("case", RECOVERED, ids=lambda case: case.id)
async def test_the_whole_object_comes_after(case: Recovered, http: NewStore) -> None:
    found, server = await asked(http, *case.faults)
    assert found == BODY
    assert server.requests[KEY] == case.requests
    some = [given for given in server.ranges[KEY] if given]
    # How much of a body that was reset had come is the network's secret: not more than was sent.
    if any(fault.kind == "reset" for fault in case.faults):
        assert len(some) <= 1
    else:
        assert some == case.ranges


@pytest.mark.parametrize("via", [*HTTP, *S3, *CLOUDS], ids=str)
@pytest.mark.parametrize("faults", [1, 3])
@pytest.mark.parametrize("stop", [len(BODY) - 1000, len(BODY) + 1000])
async def test_a_part_that_announces_less_than_its_range_and_breaks_off_is_whole(
    via: Via, faults: int, stop: int
) -> None:
    objects, wanted = below(via.prefix, {KEY: BODY}), BODY[1000:stop]
    cuts = [cut(at, "short range cut") for at in (len(wanted) // 4, len(wanted), 70_000)[:faults]]
    async with FaultServer(objects, dict.fromkeys(objects, cuts)) as server:
        store = RetryingStore(via.at(server.url), QUICK)
        try:
            found = await store.get(KEY, (1000, stop))
        finally:
            await store.aclose()
        assert len(found) == len(wanted)
        assert found == wanted
        assert server.faulted == faults


@dataclass(frozen=True)
class Failed:
    """Faults that end in ``error`` after so many requests."""

    id: str
    faults: tuple[Fault, ...]
    error: type[StoreError]
    requests: int


FAILED = [
    *(
        Failed(str(status), (Fault(kind="status", status=status),), error, 1)
        for status, error in {
            400: RequestRefusedError,
            403: StoreError,
            404: ObjectNotFoundError,
            412: ObjectChangedError,
            501: RequestRefusedError,
        }.items()
    ),
    Failed("503 for ever", (Fault(kind="status"),) * 9, ThrottledError, 6),
    Failed("500 for ever", (Fault(kind="status", status=500),) * 9, ServerFailedError, 6),
    Failed("cut for ever", (cut(0),) * 9, TruncatedBodyError, 6),
    Failed("one byte more each time", (cut(1),) * 9, TruncatedBodyError, 6),
    Failed("silent for ever", (Fault(kind="silent"),) * 9, TransferStalledError, 6),
    Failed("replaced after a cut", (cut(HALF), Fault(kind="changed")), ObjectChangedError, 2),
    Failed("replaced after a cut, and nobody looks", (cut(HALF), Fault(kind="ignored etag")), ObjectChangedError, 2),
    Failed("a redirect in a circle", (Fault(kind="redirect loop"),) * 20, RedirectRefusedError, 6),
    Failed("no length", (Fault(kind="no length"),), TruncatedBodyError, 1),
    Failed("a wait of an hour", (Fault(kind="throttle", retry_after_s=3600),), ThrottledError, 1),
]


@pytest.mark.parametrize("case", FAILED, ids=lambda case: case.id)
async def test_the_error_is_named_after(case: Failed, http: NewStore) -> None:
    found, server = await asked(http, *case.faults)
    assert isinstance(found, case.error), found
    assert found.key.endswith(KEY)
    assert found.byte_range is None
    assert found.partial is None
    assert server.requests[KEY] == case.requests
    if case.error is not RedirectRefusedError:
        assert found.attempts == case.requests
        assert (f"attempt {case.requests}" in str(found)) == (case.requests > 1)


async def test_progress_counts_the_attempts_anew(http: NewStore) -> None:
    steps = len(BODY) // PROGRESS_BYTES
    found, server = await asked(http, *(cut(PROGRESS_BYTES) for _ in range(steps)), retry=Retry(attempts=2, base_s=0))
    assert found == BODY
    assert server.requests[KEY] == steps + 1


async def test_one_attempt_means_one(http: NewStore) -> None:
    found, server = await asked(http, Fault(kind="status"), retry=Retry(attempts=1))
    assert isinstance(found, ThrottledError)
    assert "attempt" not in str(found)
    assert server.requests[KEY] == 1


async def test_no_attempt_begins_after_the_deadline(http: NewStore) -> None:
    found, server = await asked(http, *[Fault(kind="status", status=500)] * 9, retry=Retry(deadline_s=0))
    assert isinstance(found, ServerFailedError)
    assert server.requests[KEY] <= 2  # a wait drawn as nothing is no wait


@pytest.mark.fault(row=11, stores=("http",))
async def test_what_the_store_asks_to_wait_is_waited(http: NewStore) -> None:
    began_s = monotonic()
    found, server = await asked(http, Fault(kind="throttle", retry_after_s=1))
    assert found == BODY
    assert monotonic() - began_s >= 1
    assert server.requests[KEY] == 2


@pytest.mark.parametrize("via", [*HTTP, *S3], ids=str)
async def test_who_asks_for_a_size_waits_as_long_as_the_store_asks_to(via: Via) -> None:
    objects = below(via.prefix, {KEY: BODY})
    waits = {key: [Fault(kind="throttle", retry_after_s=wait_s) for wait_s in (1, 3600)] for key in objects}
    async with FaultServer(objects, waits) as server:
        store = RetryingStore(via.at(server.url), QUICK)
        began_s = monotonic()
        try:
            with pytest.raises(ThrottledError, match=r"429 Too Many Requests; it asks to wait 3600 s"):
                await store.size(KEY)
        finally:
            await store.aclose()
        assert monotonic() - began_s >= 1
        assert sum(server.requests.values()) == 2


@pytest.mark.fault(row=1, stores=("http",))
async def test_an_address_where_nobody_ever_answered_is_tried_twice(http: NewStore) -> None:
    async with FaultServer({}) as server:
        url = server.url
    store = RetryingStore(http().at(url), QUICK)
    with pytest.raises(ConnectFailedError, match="attempt 2") as caught:
        await store.get(KEY)
    assert caught.value.attempts == 2
    await store.aclose()


TRICKLES = {"idle_timeout_s": 5.0, "floor_window_s": 1.5}


@pytest.mark.fault(row=6, stores=("http",))
@pytest.mark.parametrize("fault", [cut(HALF, "drip"), cut(0, "drip"), Fault(kind="slow header")], ids=str)
async def test_a_transfer_that_trickles_is_given_up(fault: Fault, http: NewStore) -> None:
    found, server = await asked(http, fault, more=TRICKLES)
    assert found == BODY
    assert server.requests[KEY] == 2


@pytest.mark.fault(row=6, stores=("http",))
async def test_a_server_that_only_trickles_is_named(http: NewStore) -> None:
    found, _ = await asked(http, *[cut(0, "drip")] * 3, retry=Retry(attempts=2, base_s=0), more=TRICKLES)
    assert isinstance(found, TransferStalledError)
    assert "less than 4,096 bytes a second came for 1.5 s" in str(found)


async def test_who_cancels_a_transfer_that_trickles_is_heard(http: NewStore) -> None:
    async with FaultServer({KEY: BODY}, {KEY: [cut(0, "drip")]}) as server:
        store = RetryingStore(http(**TRICKLES).at(server.url), QUICK)
        task = asyncio.create_task(store.get(KEY))
        while not server.requests[KEY]:  # noqa: ASYNC110 - the server counts, it does not tell
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.requests[KEY] == 1
        await store.aclose()


@pytest.mark.fault(row=16, stores=("http",))
async def test_a_range_that_comes_short_is_asked_for_again(http: NewStore) -> None:
    async with FaultServer({KEY: BODY}, {KEY: [Fault(kind="short range")]}) as server:
        store = RetryingStore(http().at(server.url), QUICK)
        assert await store.get(KEY, (10, 110)) == BODY[10:110]
        assert server.ranges[KEY] == ["bytes=10-109"] * 2
        await store.aclose()


async def test_nothing_of_a_failed_attempt_is_kept(http: NewStore) -> None:
    async with FaultServer({KEY: BODY}, {KEY: [cut(HALF)]}) as server:
        store = RetryingStore(http().at(server.url), QUICK)
        gc.collect()
        gc.disable()
        try:
            body = await store.get(KEY)
            assert body == BODY
            # This frame's and the call's: none of a frame that the first attempt's error would keep.
            assert sys.getrefcount(body) <= 2
        finally:
            gc.enable()
            await store.aclose()


async def test_a_server_that_cuts_at_one_place_and_ignores_ranges_is_given_up(http: NewStore) -> None:
    """Each attempt brings 100 kB, and none gets further than the one before."""
    faults = {"a": [Fault(kind="cut", at_bytes=100_000), Fault(kind="ignored range")] * 40}
    async with FaultServer({"a": bytes(300_000)}, faults) as server:
        store = RetryingStore(http().at(server.url), Retry(attempts=4, base_s=0.001, deadline_s=30))
        with pytest.raises(StoreError):
            await store.get("a")
        assert server.requests["a"] <= 6
        await store.aclose()
