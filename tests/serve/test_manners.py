"""Latency, bandwidth, refusals and counts."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aioloader.errors import OptionError
from aioloader.serve import LocalBucket, Manners

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serve.conftest import Ask, Until

KEYS = [f"train/{number}.png" for number in range(2000)]


def delays_s(manners: Manners) -> list[float]:
    return [manners.turn("GET", key, 0).delay_s for key in KEYS]


def refusals(manners: Manners, occurrence: int = 0) -> list[int | None]:
    return [manners.turn("GET", key, occurrence).refusal_status for key in KEYS]


def test_jitter_is_an_even_draw_above_the_latency() -> None:
    drawn = delays_s(Manners(latency_s=0.03, jitter_s=0.01))
    assert 0.03 <= min(drawn) < 0.0301
    assert 0.0399 < max(drawn) <= 0.04
    assert statistics.mean(drawn) == pytest.approx(0.035, abs=0.0005)


def test_log_normal_latencies_have_the_asked_median_and_tail() -> None:
    drawn = sorted(delays_s(Manners(latency_s=0.04, latency_p99_s=0.4)))
    assert drawn[len(drawn) // 2] == pytest.approx(0.04, rel=0.1)
    assert drawn[len(drawn) * 99 // 100] == pytest.approx(0.4, rel=0.25)


def test_the_error_rate_is_met_and_statuses_are_equally_likely() -> None:
    drawn = refusals(Manners(error_rate=0.2, error_statuses=(500, 503)))
    assert drawn.count(None) == pytest.approx(1600, abs=60)
    assert drawn.count(500) == pytest.approx(200, abs=50)
    assert drawn.count(503) == pytest.approx(200, abs=50)


def test_draws_depend_on_seed_method_key_and_occurrence_only() -> None:
    manners = Manners(error_rate=0.5, seed=1)
    assert refusals(manners) == refusals(Manners(error_rate=0.5, seed=1))
    assert refusals(manners) != refusals(Manners(error_rate=0.5, seed=2))
    assert refusals(manners) != refusals(manners, occurrence=1)
    heads = [manners.turn("HEAD", key, 0).refusal_status for key in KEYS]
    assert refusals(manners) != heads


def test_an_error_rate_of_0_refuses_none_and_of_1_all() -> None:
    assert set(refusals(Manners(error_rate=0))) == {None}
    assert set(refusals(Manners(error_rate=1))) == {503}


@dataclass(frozen=True)
class Refused:
    id: str
    options: dict[str, Any]
    named: str


REFUSED = [
    Refused("negative latency", {"latency_s": -1}, "latency_s"),
    Refused("endless latency", {"latency_s": float("inf")}, "latency_s"),
    Refused("no number", {"jitter_s": float("nan")}, "jitter_s"),
    Refused("tail below the median", {"latency_s": 1, "latency_p99_s": 0.5}, "latency_p99_s"),
    Refused("tail without a median", {"latency_p99_s": 0.5}, "latency_s"),
    Refused("two kinds of spread", {"latency_s": 1, "latency_p99_s": 2, "jitter_s": 1}, "jitter_s"),
    Refused("no bandwidth", {"bandwidth_bytes_per_s": 0}, "bandwidth_bytes_per_s"),
    Refused("more than all", {"error_rate": 1.5}, "error_rate"),
    Refused("no status", {"error_statuses": ()}, "error_statuses"),
    Refused("a status that is no error", {"error_statuses": (200,)}, "error_statuses"),
    Refused("a limit that lets nobody in", {"rate_limit_per_s": 0}, "rate_limit_per_s"),
    Refused("a burst without a limit", {"rate_limit_burst": 5}, "rate_limit_burst"),
    Refused("less than one at once", {"rate_limit_per_s": 5, "rate_limit_burst": 0.5}, "rate_limit_burst"),
    Refused("a status of other meaning", {"rate_limit_per_s": 5, "rate_limit_status": 500}, "rate_limit_status"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_manners_that_cannot_work_name_the_option(case: Refused) -> None:
    with pytest.raises(OptionError) as raised:
        Manners(**case.options)
    assert raised.value.option == case.named


async def test_every_answer_waits_for_the_latency_at_the_same_time(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder, Manners(latency_s=0.2)) as bucket:
        started_s = time.monotonic()
        answers = await asyncio.gather(*(ask(bucket, "train/cat/1.png") for _ in range(100)))
        took_s = time.monotonic() - started_s
        peak = bucket.statistics().peak_in_flight
    assert {answer.status for answer in answers} == {200}
    assert took_s >= 0.2
    assert took_s < 0.2 * 100 / 4  # together, not one after another
    assert peak > 50


async def test_a_missing_key_waits_too(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder, Manners(latency_s=0.05)) as bucket:
        started_s = time.monotonic()
        assert (await ask(bucket, "missing")).status == 404
        assert time.monotonic() - started_s >= 0.05


async def test_bandwidth_is_shared_by_all_answers(folder: Path, ask: Ask) -> None:
    # 4 x 768 kB over 8 MB/s take 0.384 s, however they are sent.
    async with LocalBucket(folder, Manners(bandwidth_bytes_per_s=8e6)) as bucket:
        started_s = time.monotonic()
        answers = await asyncio.gather(*(ask(bucket, "large.bin") for _ in range(4)))
        took_s = time.monotonic() - started_s
    assert [len(answer.body) for answer in answers] == [768_000] * 4
    assert 0.384 <= took_s < 3.84


async def test_refusals_come_with_their_status_and_are_counted(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder, Manners(error_rate=0.5, error_statuses=(503,), seed=3)) as bucket:
        statuses = [(await ask(bucket, "train/cat/1.png")).status for _ in range(40)]
        counts = bucket.statistics()
    assert set(statuses) == {200, 503}
    assert counts.refusals == statuses.count(503)


async def test_the_same_requests_are_refused_in_any_order(folder: Path, files: dict[str, bytes], ask: Ask) -> None:
    async def fates(keys: list[str]) -> dict[str, int]:
        async with LocalBucket(folder, Manners(error_rate=0.5, seed=5)) as bucket:
            answers = await asyncio.gather(*(ask(bucket, key) for key in keys))
        return {key: answer.status for key, answer in zip(keys, answers, strict=True)}

    keys = list(files)
    there, back = await fates(keys), await fates(keys[::-1])
    assert there == back
    assert set(there.values()) == {200, 503}


async def test_a_status_without_a_name_can_be_given(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder, Manners(error_rate=1, error_statuses=(529,))) as bucket:
        assert (await ask(bucket, "train/cat/1.png")).status == 529


async def test_requests_are_counted_by_method_and_key(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder) as bucket:
        for _ in range(3):
            await ask(bucket, "train/cat/a b+c&d.png")
        await ask(bucket, "train/cat/a b+c&d.png", "HEAD")
        await ask(bucket, "missing")
    assert bucket.requests == {
        ("GET", "train/cat/a b+c&d.png"): 3,
        ("HEAD", "train/cat/a b+c&d.png"): 1,
        ("GET", "missing"): 1,
    }
    counts = bucket.statistics()
    assert (counts.requests, counts.in_flight, counts.peak_in_flight) == (5, 0, 1)


async def test_a_client_that_leaves_is_counted_and_its_request_ends(folder: Path, until: Until) -> None:
    async with LocalBucket(folder, Manners(latency_s=60)) as bucket, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            async with session.get(bucket.url, timeout=aiohttp.ClientTimeout(total=0.2)):
                pass
        await until(lambda: bucket.statistics().in_flight == 0)
        assert bucket.statistics().abandoned == 1


async def test_leaving_cuts_off_requests_in_progress(folder: Path, ask: Ask, until: Until) -> None:
    async with LocalBucket(folder, Manners(latency_s=60)) as bucket:
        request = asyncio.create_task(ask(bucket, "train/cat/1.png"))
        await until(lambda: bucket.statistics().in_flight == 1)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 5
    with pytest.raises(aiohttp.ClientError):
        await request


@pytest.mark.parametrize("status", [429, 503])
async def test_what_comes_too_fast_is_refused_and_told_to_wait(folder: Path, ask: Ask, status: int) -> None:
    manners = Manners(rate_limit_per_s=0.1, rate_limit_burst=3, rate_limit_status=status)
    async with LocalBucket(folder, manners) as bucket:
        answers = [await ask(bucket, "train/cat/1.png") for _ in range(5)]
        counts = bucket.statistics()
    assert [answer.status for answer in answers] == [200, 200, 200, status, status]
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 10
    assert "Retry-After" not in answers[0].headers
    assert counts.refusals == 2
    async with LocalBucket(folder, Manners(rate_limit_per_s=5, rate_limit_burst=1)) as bucket:
        refused = [await ask(bucket, "train/cat/1.png") for _ in range(2)][1]
    assert refused.status == 503
    assert "Retry-After" not in refused.headers


async def test_a_second_s_worth_may_come_at_once_unless_told(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder, Manners(rate_limit_per_s=0.001)) as bucket:
        assert [(await ask(bucket, "train/cat/1.png")).status for _ in range(2)] == [200, 503]


async def test_thousands_of_requests_at_once_are_answered(folder: Path, ask: Ask) -> None:
    async with LocalBucket(folder, Manners(latency_s=1.0)) as bucket:
        answers = await asyncio.gather(*(ask(bucket, "train/cat/1.png") for _ in range(1500)))
        peak = bucket.statistics().peak_in_flight
    assert {answer.status for answer in answers} == {200}
    assert peak > 500
