"""The tuner against a model of a pipeline: what it comes to, how soon, and what it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from aioloader.engine.pulse import PASSING
from aioloader.monitor.timeline import Settings
from tests.tune.pipeline import START, Pipeline, run, tuner_of

MANY = replace(START, workers=16)


@dataclass(frozen=True)
class Case:
    id: str
    pipeline: Pipeline
    best_per_s: float
    """With the best fixed settings."""


def cases() -> list[Case]:
    return [
        Case("latency", Pipeline(latency_s=0.2, loop_s=0.0002), 5000),
        Case("decoders without the GIL", Pipeline(decode_s=0.004), 488),
        Case("decoders that hold the GIL", Pipeline(decode_s=0.004, holds_gil=True), 487),
        Case("decoders that hold the GIL, latency", Pipeline(latency_s=0.2, decode_s=0.004, holds_gil=True), 487),
        Case("a busy loop", Pipeline(loop_s=0.0002), 6667),
        Case("decoders that sleep", Pipeline(decode_s=0.02, sleeps=True, latency_s=0.005), 3000),
        Case("16 cores and the GIL", Pipeline(decode_s=0.004, holds_gil=True, cores=16, settings=MANY), 3900),
        Case("a slow consumer", Pipeline(decode_s=0.004, holds_gil=True, consumer_per_s=100), 100),
        Case("a store with a limit", Pipeline(latency_s=0.05, store_per_s=3000), 3000),
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_it_comes_to_nine_tenths_of_the_best_within_fifteen_seconds(case: Case, seed: int) -> None:
    pipeline = replace(case.pipeline, seed=seed)
    tuner = tuner_of(pipeline)
    list(run(pipeline, tuner, 15))
    samples = [moment.samples for moment in run(pipeline, tuner, 10)]
    assert (samples[-1] - samples[0]) / 9.75 >= 0.9 * case.best_per_s


def test_threads_that_take_turns_become_processes_and_the_reason_is_told() -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True)
    tuner = tuner_of(pipeline)
    list(run(pipeline, tuner, 10))
    assert pipeline.settings.use_multiprocessing
    assert pipeline.settings.workers == 2
    assert "your decoder holds the GIL" in "; ".join(change.reason for change in tuner.changes)


def test_processes_that_do_not_pay_are_given_up_once_and_for_all() -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True, processes_gain=0.5)
    tuner = tuner_of(pipeline)
    kinds = [moment.settings.use_multiprocessing for moment in run(pipeline, tuner, 60)]
    assert not kinds[-1]
    assert sum(kinds) * 0.25 < 8
    assert sum(first != second for first, second in pairwise(kinds)) == 2
    assert any(change.reason.startswith("worker processes gave") for change in tuner.changes)
    assert "times the rate of threads" in tuner.processes_refused


def test_a_refusal_is_remembered_with_its_reason() -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True, refused="your decoder cannot be pickled")
    tuner = tuner_of(pipeline)
    list(run(pipeline, tuner, 30))
    assert not pipeline.settings.use_multiprocessing
    assert tuner.processes_refused == "your decoder cannot be pickled"
    assert sum(change.reason == "your decoder cannot be pickled" for change in tuner.changes) == 1


def test_numbers_of_the_user_are_obeyed() -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True, latency_s=0.3)
    tuner = tuner_of(pipeline, "concurrency", "workers", "use_multiprocessing", "max_queue_size")
    list(run(pipeline, tuner, 30))
    assert pipeline.settings == START
    assert tuner.changes == ()


def test_a_fixed_number_of_workers_is_kept_when_they_become_processes() -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True, cores=8, settings=replace(START, workers=3))
    tuner = tuner_of(pipeline, "workers")
    list(run(pipeline, tuner, 15))
    assert pipeline.settings == Settings(
        concurrency=pipeline.settings.concurrency, workers=3, use_multiprocessing=True, max_queue_size=8
    )


def test_a_short_rest_of_the_run_is_not_worth_processes() -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True)
    tuner = tuner_of(pipeline)
    for moment in run(pipeline, tuner, 20):
        tuner.observe(replace(moment, at_s=moment.at_s + 0.01, active_s=moment.active_s + 0.01), samples_left=500)
        break
    assert not pipeline.settings.use_multiprocessing


@dataclass(frozen=True)
class Turn:
    """In mid-run the scenario becomes another one."""

    id: str
    before: Pipeline
    after: dict[str, float]
    best_per_s: float


TURNS = [
    Turn("latency 10 to 150 ms", Pipeline(latency_s=0.01, loop_s=0.0002, store_per_s=4000), {"latency_s": 0.15}, 4000),
    Turn("the consumer four times faster", Pipeline(decode_s=0.004, holds_gil=True, consumer_per_s=110),
         {"consumer_per_s": 440}, 440),
    Turn("the store lets half through", Pipeline(latency_s=0.02, store_per_s=4000), {"store_per_s": 2000}, 2000),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.id)
def test_it_converges_again_within_ten_seconds(turn: Turn, seed: int) -> None:
    pipeline = replace(turn.before, seed=seed)
    tuner = tuner_of(pipeline)
    list(run(pipeline, tuner, 40))
    for name, value in turn.after.items():
        setattr(pipeline, name, value)
    list(run(pipeline, tuner, 10))
    samples = [moment.samples for moment in run(pipeline, tuner, 5)]
    assert (samples[-1] - samples[0]) / 4.75 >= 0.9 * turn.best_per_s


@pytest.mark.parametrize("reason", PASSING)
def test_what_cannot_be_now_is_tried_again_later(reason: str) -> None:
    pipeline = Pipeline(decode_s=0.004, holds_gil=True, refused=reason)
    tuner = tuner_of(pipeline)
    list(run(pipeline, tuner, 5))
    assert tuner.processes_refused == ""
    assert not pipeline.settings.use_multiprocessing
    pipeline.refused = ""
    list(run(pipeline, tuner, 10))
    assert pipeline.settings.use_multiprocessing


def test_what_went_on_while_no_stream_was_open_is_not_judged() -> None:
    pipeline = Pipeline(decode_s=0.004)
    tuner = tuner_of(pipeline)
    list(run(pipeline, tuner, 2))
    later = replace(pipeline.moment, at_s=pipeline.moment.at_s + 60, active_s=pipeline.moment.active_s + 5)
    pipeline.moment = replace(later, decode_s=later.decode_s + 10, process_cpu_s=later.process_cpu_s + 5, batches=999)
    tuner.observe(pipeline.moment)
    assert not [change for change in tuner.changes if change.knob != "concurrency"]
