"""What a verdict says of spans whose limit is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.monitor.timeline import Moment, Timeline
from aioloader.tune.limit import Facts, limit_of
from aioloader.tune.load import Load
from aioloader.tune.verdict import judge, startup, steady_span
from tests.tune.spans import load_of, settings

if TYPE_CHECKING:
    from aioloader.monitor.verdict import Limit


@dataclass(frozen=True)
class Case:
    id: str
    limit: Limit
    stations: dict[str, Any]
    knob: str
    gain: tuple[float, float] = (1.0, 1.0)
    facts: dict[str, Any] = field(default_factory=dict)
    says: str = ""


PROCESSES = settings(use_multiprocessing=True)
FEWER = settings(concurrency=16)
CASES = [
    Case("a slow model", "consumer", {"wait": 0.01, "lanes": 0.5}, "", says="no knob of the loader helps"),
    Case("a consumer that takes nothing", "consumer", {"per_s": 0, "wait": 0.0, "full_beats": 4}, "", says="took none"),
    Case("a model that waited at the start", "consumer", {"wait": 0.08, "queue_s": 0.9, "in_flight": 62}, ""),
    Case(
        "an empty queue and a model that hardly waits",
        "network latency",
        {"wait": 0.08, "queue_s": 0.2, "in_flight": 62},
        "concurrency=68",
        (1.0, 1.1),
    ),
    Case(
        "Little's law",
        "network latency",
        {"per_s": 1066, "wait": 0.9, "in_flight": 63.5, "lanes": 0.27, "loop": 0.2},
        "concurrency=318",
        (4.9, 5.1),
        says="5,330 samples/s need 318 in flight; 64 are allowed",
    ),
    Case(
        "a line that is full",
        "network bandwidth",
        {"in_flight": 64, "bytes_fetched": 1e8},
        'cache="directory"',
        (1.0, 10.0),
        {"more_was_tried": True},
        says="100.0 MB/s",
    ),
    Case(
        "a store that queues",
        "network bandwidth",
        {"in_flight": 64, "per_s": 500},
        'cache="directory"',
        (1.0, 10.0),
        {"quick_fetch_s": 0.01},
        says="only wait in line",
    ),
    Case(
        "a store that refuses",
        "throttling",
        {"in_flight": 64, "throttled": 10},
        'cache="directory"',
        (1.0, 10.0),
        says="refuses 2.0% of the requests",
    ),
    Case(
        "two busy decoders", "decode CPU", {"lanes": 1.98, "idle": 0.0, "in_flight": 5}, "", says="2.0 cores, 0.0 idle"
    ),
    Case(
        "one decoder of four",
        "decode CPU",
        {"lanes": 1.0, "idle": 2.9, "given": settings(workers=1)},
        "workers=4",
        (3.9, 4.0),
        {"cores": 4},
    ),
    Case(
        "decoders that sleep",
        "decode CPU",
        {"lanes": 2.0, "lane_cores": 0.05},
        "workers=4",
        (2.0, 2.0),
        says="they wait",
    ),
    Case(
        "threads in turn",
        "GIL",
        {"lanes": 2.0, "lane_cores": 0.95, "idle": 0.9},
        "use_multiprocessing=True, workers=2",
        (2.0, 2.2),
        says="2 threads scale 0.95x, your decoder holds the GIL",
    ),
    Case(
        "a loop that is kept from the GIL",
        "GIL",
        {"lanes": 1.2, "lane_cores": 0.93, "in_flight": 64, "lag_s": 0.2, "idle": 0.9},
        "use_multiprocessing=True, workers=2",
        (2.0, 2.2),
    ),
    Case(
        "a decoder that cannot be sent",
        "GIL",
        {"lanes": 2.0, "lane_cores": 0.95, "idle": 0.9},
        "",
        facts={"refused": "your decoder cannot be pickled"},
        says="processes cannot be had: your decoder cannot be pickled",
    ),
    Case(
        "a busy loop",
        "fetch CPU",
        {"per_s": 8000, "in_flight": 64, "loop": 0.95, "lanes": 0.1},
        "use_multiprocessing=True",
        (1.9, 2.0),
    ),
    Case(
        "busy loops beside idle cores",
        "fetch CPU",
        {"loop": 1.9, "lanes": 0.1, "idle": 5.8, "in_flight": 64, "given": PROCESSES},
        "workers=8",
        (3.9, 4.0),
        {"cores": 8},
    ),
    Case(
        "the most that is tried",
        "network latency",
        {"per_s": 5000, "in_flight": 1020, "loop": 0.4, "lanes": 0.1, "given": settings(concurrency=1024)},
        "",
        says='the most that "auto" tries',
    ),
    Case(
        "more than that by the user",
        "network latency",
        {"per_s": 10_000, "in_flight": 1990, "loop": 0.7, "lanes": 0.1, "given": settings(concurrency=2000)},
        "concurrency=2843",
        (1.4, 1.5),
        {"fixed": frozenset({"concurrency"})},
    ),
    Case(
        "half of what is allowed, beside another loader",
        "network latency",
        {"per_s": 160, "in_flight": 32, "in_flight_seen": 160 * 64},
        "concurrency=320",
        (1.0, 5.0),
    ),
    Case("busy loops", "fetch CPU", {"loop": 1.8, "lanes": 0.1, "idle": 0.0, "in_flight": 64, "given": PROCESSES}, ""),
    Case(
        "all cores fetch", "fetch CPU", {"loop": 1.2, "lanes": 0.4, "idle": 0, "in_flight": 64, "given": PROCESSES}, ""
    ),
    Case("all cores decode", "decode CPU", {"loop": 0.4, "lanes": 1.5, "idle": 0.0, "in_flight": 64}, ""),
    Case(
        "others have the cores",
        "network latency",
        {"loop": 0.2, "lanes": 0.2, "idle": 0.0, "in_flight": 64},
        "concurrency=320",
        (1, 5),
    ),
    Case("no bytes left", "memory budget", {"in_flight": 20, "blocked_beats": 3}, "max_memory", (1.0, 2.0)),
    Case(
        "a disk",
        "disk",
        {"in_flight": 16, "given": settings(concurrency=16)},
        "concurrency=32",
        facts={"is_local": True},
    ),
    Case(
        "a cache",
        "cache disk",
        {"in_flight": 64, "cache_hits": 400, "cache_misses": 100},
        "concurrency=128",
        says="80% of the samples come from the cache",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_limit_is_named_with_its_figures_and_the_knob(case: Case) -> None:
    given = dict(case.facts)
    facts = Facts(load=load_of(given.pop("cores", 2), **case.stations), batch_size=32, **given)
    assert limit_of(facts) == case.limit
    verdict = judge(facts)
    assert verdict.limit == case.limit
    assert verdict.sentence.startswith(f"{case.limit}: ")
    assert case.says in verdict.sentence
    assert verdict.knob == case.knob
    assert case.gain[0] <= verdict.gain <= case.gain[1]
    assert (
        json.loads(json.dumps(verdict.as_dict()))["figures"]["samples_per_s"]
        == load_of(**case.stations).span.samples_per_s
    )


def test_keras_needs_as_many_workers_as_samples_are_under_way() -> None:
    verdict = judge(Facts(load=load_of(per_s=1000, in_flight=60, lanes=2.0, idle=0), batch_size=32))
    assert verdict.keras == {"workers": 62, "max_queue_size": 60, "use_multiprocessing": False}


def moment(second: float, samples: int, **changed: Any) -> Moment:
    return Moment(at_s=second, active_s=second, settings=settings(**changed), batches=samples // 32, samples=samples)


def test_what_was_before_the_first_batch_and_the_last_change_of_workers_is_not_judged() -> None:
    timeline = Timeline()
    assert steady_span(timeline) is None
    for second in range(4):
        timeline.add(moment(second, 0))
    for second in range(4, 8):
        timeline.add(moment(second, 320 * (second - 3)))
    span = steady_span(timeline)
    assert span is not None
    assert (span.first.at_s, span.last.at_s) == (4, 7)
    for second in range(8, 10):
        timeline.add(moment(second, 3200 * (second - 3), use_multiprocessing=True))
    span = steady_span(timeline)
    assert span is not None
    assert (span.first.at_s, span.last.at_s) == (8, 9)


def test_workers_that_have_just_changed_leave_what_was_before_to_be_judged() -> None:
    timeline = Timeline()
    for second in range(5):
        timeline.add(moment(second, 320 * (second + 1)))
    timeline.add(moment(5, 2000, use_multiprocessing=True))
    span = steady_span(timeline)
    assert span is not None
    assert (span.first.at_s, span.last.at_s) == (0, 4)


def test_a_consumer_that_has_gone_does_not_count_as_a_slow_one() -> None:
    timeline = Timeline()
    for second in range(5):
        timeline.add(moment(second, 320 * (second + 1)))
    for second in range(5, 30):
        timeline.add(moment(second, 1600))
    span = steady_span(timeline)
    assert span is not None
    assert (span.first.at_s, span.last.at_s) == (0, 4)


def test_threads_that_a_quota_slows_down_do_not_take_turns() -> None:
    span = load_of(lanes=2.0, lane_cores=1.15, loop=0.05, idle=0.7).span
    assert limit_of(Facts(load=Load(span, 2), batch_size=32)) == "GIL"
    assert limit_of(Facts(load=Load(span, 2, granted=1.3), batch_size=32)) == "decode CPU"


def test_where_the_system_does_not_tell_nobody_is_accused() -> None:
    verdict = judge(Facts(load=load_of(lanes=2.0, lane_cores=0.0, loop=0.0, idle=0.0), batch_size=32))
    assert "other processes" not in verdict.sentence


def test_a_run_that_has_just_begun_is_startup() -> None:
    assert startup(0.0, 0, 0.0).sentence == "startup: no batch was read yet"
    verdict = startup(2.5, 3, 40.0)
    assert verdict.limit == "startup"
    assert "first batch came after 2.5 s" in verdict.sentence
