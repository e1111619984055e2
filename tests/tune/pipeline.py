"""A model of a loader for its tuner: stations with capacities, of which the slowest sets the pace; its own clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from aioloader.monitor.timeline import Moment, Settings
from aioloader.tune.concurrency import ConcurrencySearch
from aioloader.tune.tuner import Tuner

if TYPE_CHECKING:
    from collections.abc import Iterator

BEAT_S = 0.25
START = Settings(concurrency=64, workers=2, use_multiprocessing=False, max_queue_size=8)
PROCESSES_START_S = 0.75


@dataclass
class Pipeline:
    """``latency_s`` a request, ``store_per_s`` at most, ``decode_s`` a sample (with the GIL held where ``holds_gil``,
    asleep where ``sleeps``), ``loop_s`` of the event loop's CPU a sample, ``consumer_per_s`` samples are used."""

    latency_s: float = 0.01
    store_per_s: float = 1e9
    decode_s: float = 0.0001
    holds_gil: bool = False
    sleeps: bool = False
    loop_s: float = 0.0001
    consumer_per_s: float = 1e9
    cores: int = 2
    noise: float = 0.06
    processes_gain: float = 1.0
    refused: str = ""
    seed: int = 1
    settings: Settings = START
    now_s: float = 0.0
    switching_until_s: float = -1.0
    moment: Moment = field(default_factory=lambda: Moment(at_s=0.0, active_s=0.0, settings=START))

    def capacities(self) -> dict[str, float]:
        """Samples a second that each station could do with the settings of now."""
        knobs = self.settings
        interpreters = min(knobs.workers, self.cores) if knobs.use_multiprocessing else 1
        if self.sleeps:
            decode = knobs.workers / self.decode_s
        elif self.holds_gil:
            decode = interpreters / self.decode_s
        else:
            decode = min(knobs.workers, self.cores) / self.decode_s
        busy_s = self.loop_s if self.sleeps else self.decode_s + self.loop_s
        gil = interpreters / (self.loop_s + (self.decode_s if self.holds_gil else 0.0))
        return {
            "wire": min(knobs.concurrency / self.latency_s, self.store_per_s),
            "decode": decode * (self.processes_gain if knobs.use_multiprocessing else 1.0),
            "loop": gil * (self.processes_gain if knobs.use_multiprocessing else 1.0),
            "cores": self.cores / busy_s,
            "consumer": self.consumer_per_s,
        }

    @property
    def per_s(self) -> float:
        """What comes of it."""
        return min(self.capacities().values())


def run(pipeline: Pipeline, tuner: Tuner, seconds: float) -> Iterator[Moment]:
    """Let time pass, beat by beat."""
    draw = Random(pipeline.seed)
    for _ in range(round(seconds / BEAT_S)):
        pipeline.moment = _beat(pipeline, pipeline.moment, draw.uniform(1 - pipeline.noise, 1 + pipeline.noise))
        wanted = tuner.observe(pipeline.moment, epoch=0, samples_left=10**9)
        _apply(pipeline, tuner, wanted)
        yield pipeline.moment


def _beat(pipeline: Pipeline, before: Moment, noise: float) -> Moment:
    capacities = pipeline.capacities()
    per_s = min(min(capacities.values()) * noise, capacities["consumer"])
    done = per_s * BEAT_S
    knobs = pipeline.settings
    limit = min(capacities, key=lambda name: capacities[name])
    in_flight = knobs.concurrency if limit == "wire" else min(per_s * pipeline.latency_s, knobs.concurrency)
    lanes = knobs.workers if limit in ("decode", "loop", "cores") and pipeline.holds_gil else per_s * pipeline.decode_s
    lanes = min(knobs.workers if limit == "decode" else lanes, knobs.workers)
    decode_cpu = 0.0 if pipeline.sleeps else done * pipeline.decode_s
    loop_cpu = done * pipeline.loop_s
    child = knobs.use_multiprocessing
    pipeline.now_s += BEAT_S
    full = limit == "consumer"
    return replace(
        before,
        at_s=pipeline.now_s,
        active_s=pipeline.now_s,
        settings=knobs,
        batches=before.batches + 1,
        samples=before.samples + round(done),
        data_wait_s=before.data_wait_s + BEAT_S * (0.0 if full else 1 - per_s / pipeline.consumer_per_s),
        fetched=before.fetched + round(done),
        fetch_s=before.fetch_s + in_flight * BEAT_S,
        in_flight=round(in_flight),
        in_flight_seen=before.in_flight_seen + round(done) * round(in_flight),
        decoded=before.decoded + round(done),
        decode_s=before.decode_s + lanes * BEAT_S,
        decode_cpu_s=before.decode_cpu_s + (0.0 if child else decode_cpu),
        loop_cpu_s=before.loop_cpu_s + (0.0 if child else loop_cpu),
        process_cpu_s=before.process_cpu_s + (0.005 if child else decode_cpu + loop_cpu),
        child_decode_cpu_s=before.child_decode_cpu_s + (decode_cpu if child else 0.0),
        child_loop_cpu_s=before.child_loop_cpu_s + (loop_cpu if child else 0.0),
        idle_s=before.idle_s + max(pipeline.cores * BEAT_S - decode_cpu - loop_cpu, 0.0),
        lags=before.lags + 5,
        lag_s=before.lag_s + 5 * (0.006 if pipeline.holds_gil and limit in ("decode", "loop") else 0.0004),
        beats=before.beats + 1,
        full_beats=before.full_beats + full,
        answered=before.answered + round(done),
    )


def _apply(pipeline: Pipeline, tuner: Tuner, wanted: Settings) -> None:
    now = pipeline.settings
    pipeline.settings = replace(now, concurrency=wanted.concurrency, max_queue_size=wanted.max_queue_size)
    if wanted.use_multiprocessing == now.use_multiprocessing:
        pipeline.settings = replace(pipeline.settings, workers=wanted.workers)
        return
    if pipeline.refused:
        tuner.refused(pipeline.refused)
        return
    if pipeline.switching_until_s < 0:
        pipeline.switching_until_s = pipeline.now_s + (PROCESSES_START_S if wanted.use_multiprocessing else 0.0)
    if pipeline.now_s >= pipeline.switching_until_s:
        pipeline.switching_until_s = -1.0
        pipeline.settings = replace(
            pipeline.settings, use_multiprocessing=wanted.use_multiprocessing, workers=wanted.workers
        )


def tuner_of(pipeline: Pipeline, *fixed: str) -> Tuner:
    """A tuner for it, with a search of its own."""
    return Tuner(pipeline.settings, fixed=frozenset(fixed), cores=pipeline.cores, search=ConcurrencySearch())
