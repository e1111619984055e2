"""Whole epochs from a server of which many answers go wrong: every sample once, in threads and in worker processes."""

from __future__ import annotations

from typing import Any

import pytest

import aioloader as al
from aioloader.testing import Fault, FaultServer, TokenBucket
from aioloader.testing.faults import random_faults
from tests.faults.drill import PASSING, bodies, check_exact, loader_of, serving

ASKED_ONCE = al.Retry(base_s=0.005, throttled_base_s=0.01, hedge_share=0)
"""Requests are counted here: a late one is not made twice."""


def epoch(server: FaultServer, retry: al.Retry = ASKED_ONCE, **options: Any) -> al.Loader:
    return loader_of(al.HTTPStore(idle_timeout_s=0.4).at(server.url), server.objects, retry=retry, **options)


def requests_until_good(faults: list[Fault]) -> int:
    """Bytes behind an answer spoil its connection, not the answer."""
    kinds = [fault.kind for fault in faults]
    return kinds.index("extra bytes") + 1 if "extra bytes" in kinds else len(kinds) + 1


@pytest.mark.fault(row=5, stores=("http",))
@pytest.mark.fault(row=7, stores=("http",))
@pytest.mark.fault(row=8, stores=("http",))
@pytest.mark.fault(row=11, stores=("http",))
@pytest.mark.parametrize("use_multiprocessing", [False, True])
@pytest.mark.parametrize("order", ["strict", "window"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_sample_comes_once(seed: int, order: str, *, use_multiprocessing: bool) -> None:
    objects = bodies(seed)
    faults = random_faults(objects, PASSING, share=0.3, seed=seed)
    with (
        serving(FaultServer(objects, faults)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, order=order, workers=2) as loader,
    ):
        check_exact(loader, objects)
        assert server.requests == {key: requests_until_good(faults.get(key, [])) for key in objects}


@pytest.mark.fault(row=11, stores=("http",))
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_store_that_limits_requests_is_asked_at_its_pace(*, use_multiprocessing: bool) -> None:
    objects = bodies(4)
    retry = al.Retry(throttled_base_s=0.25, hedge_share=0)
    with (
        serving(FaultServer(objects, bucket=TokenBucket(per_s=100, burst=5), latency_s=0.01)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, workers=2, retry=retry) as loader,
    ):
        check_exact(loader, objects)
        check_exact(loader, objects)
    assert server.refused > 0
    assert server.in_flight_peak <= 64


@pytest.mark.fault(row=8, stores=("http",))
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_an_object_that_never_comes_is_named(*, use_multiprocessing: bool) -> None:
    objects = bodies(5)
    faults = {"0017.bin": [Fault(kind="cut", at_bytes=2)] * 50}
    with (
        serving(FaultServer(objects, faults)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, workers=2) as loader,
        pytest.raises(al.errors.TruncatedBodyError, match=r"0017\.bin.*attempt 6") as caught,
    ):
        list(loader)
    assert caught.value.sample_id == 17
    assert server.requests["0017.bin"] == 6


@pytest.mark.fault(row=11, stores=("http",))
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_skipping_begins_when_asking_again_has_ended(*, use_multiprocessing: bool) -> None:
    objects = bodies(6)
    faults = {"0017.bin": [Fault(kind="status", status=500)] * 50}
    with (
        serving(FaultServer(objects, faults)) as server,
        epoch(server, use_multiprocessing=use_multiprocessing, workers=2, on_error="skip") as loader,
    ):
        assert sum(int((~batch.valid).sum()) for batch in loader) == 1
        assert [entry.key for entry in loader.skipped] == ["0017.bin"]
    assert server.requests["0017.bin"] == 6
