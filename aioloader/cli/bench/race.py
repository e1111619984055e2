"""The rounds: in each every mode runs once at every place, each round in another order; then a short sweep."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.cli.bench.interpreter import Interpreter, RunFailedError
from aioloader.cli.bench.results import Run, SweepPoint, SweepSetting
from aioloader.cli.bench.task import Task
from aioloader.runtime.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.cli.bench.modes.catalogue import Mode
    from aioloader.cli.bench.places import Place
    from aioloader.cli.bench.progress import Progress
    from aioloader.cli.bench.results import Results
    from aioloader.cli.bench.time_left import TimeLeft

_FAILURES_ALLOWED = 2
SWEEP, WATCH = "sweep", "watch"
WATCHED_S = 5.0
CONCURRENCIES = (1, 4, 16, 64, 256)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How everything is run: ``rounds`` of runs of ``seconds``; a run that takes ``timeout_s`` is ended."""

    decode: str
    batch_size: int
    seconds: float
    rounds: int
    timeout_s: float
    seed: int = 0

    def task(self, mode: str, place: Place, **knobs: int | bool) -> Task:
        """One run of ``mode`` at ``place``."""
        return Task(
            mode=mode,
            data=place.data,
            root=place.root,
            decode=self.decode,
            batch_size=self.batch_size,
            seconds=self.seconds,
            knobs=knobs,
        )


@dataclass(frozen=True, kw_only=True)
class Race:
    """What is run, where it is noted and shown."""

    plan: Plan
    modes: Sequence[Mode]
    places: Sequence[Place]
    results: Results
    left: TimeLeft
    show: Progress

    def run(self, watched_place: Place | None, swept_place: Place | None) -> None:
        """All rounds. The longer look at aioloader and the sweep come after the first, so that there is time for them;
        None leaves them out."""
        order, failures = random.Random(self.plan.seed), Counter[str]()
        for number in range(self.plan.rounds):
            for mode in order.sample(list(self.modes), len(self.modes)):
                places = order.sample(list(self.places), len(self.places))
                before = len(self.results.runs)
                if failures[mode.name] < _FAILURES_ALLOWED and (
                    number == 0 or self.left.is_time_for(mode.name, len(places))
                ):
                    try:
                        self._turn(mode, places, number)
                    except RunFailedError:  # it is in the results
                        failures[mode.name] = _FAILURES_ALLOWED
                done = self.results.runs[before:]
                failures[mode.name] += sum(bool(run.error) for run in done)
                self.left.skip(mode.name, len(places) - len(done))
                self.show.told(self._told(mode, done, number))
            if number == 0 and watched_place is not None:
                self._watch(watched_place)
            if number == 0 and swept_place is not None:
                self._sweep(swept_place)

    def _turn(self, mode: Mode, places: Sequence[Place], number: int) -> None:
        """One interpreter for all places; raises the `RunFailedError` that ended it."""
        began = monotonic()
        with Interpreter() as child:
            for place in places:
                self.show.now(f"round {number + 1} of {self.plan.rounds}: {mode.title}, {place.name}")
                run = partial(Run, mode=mode.name, place=place.name, round_number=number)
                try:
                    answer = child.ask(self.plan.task(mode.name, place), self.plan.timeout_s, self.show.refresh)
                except RunFailedError as exc:
                    self.results.runs.append(run(error=str(exc)))
                    if exc.is_fatal:
                        raise
                else:
                    self.results.runs.append(run(answer=answer))
                finally:
                    self.left.done(mode.name, monotonic() - began)
                    began = monotonic()

    def _told(self, mode: Mode, runs: Sequence[Run], number: int) -> str:
        by_place = {run.place: run for run in runs}
        found = [by_place[place.name] for place in self.places if place.name in by_place]
        words = [run.error or f"{run.answer['samples_per_s']:,.0f}" for run in found]
        what = ", ".join(words) + " samples/s" if words else "left out"
        return f"round {number + 1} of {self.plan.rounds}: {mode.title}: {what}"

    def _watch(self, place: Place) -> None:
        """aioloader with every knob at its default, for long enough that it can tell what limits it."""
        began, seconds = monotonic(), max(self.plan.seconds, WATCHED_S)
        self.show.now(f"a longer look: aioloader, auto, {place.name}")
        task = replace(self.plan.task("aioloader", place), seconds=seconds, is_watched=True)
        try:
            with Interpreter() as child:
                answer = child.ask(task, self.plan.timeout_s + seconds, self.show.refresh)
        except RunFailedError as exc:
            self.show.told(f"a longer look at aioloader, auto, failed: {exc}")
        else:
            self.results.watched = {"place": place.name, "settings": answer["settings"], **answer["watched"]}
        self.left.done(WATCH, monotonic() - began)

    def _sweep(self, place: Place) -> None:
        """aioloader at ``place``, one knob fixed at a time; what fails leaves no point."""
        with Interpreter() as child:
            for setting in sweep_settings():
                began = monotonic()
                self.show.now(f"sweep at {place.name}: {setting.words}")
                task = self.plan.task(setting.mode, place, **setting.knobs)
                try:
                    answer = child.ask(task, self.plan.timeout_s, self.show.refresh)
                except RunFailedError as exc:
                    self.show.told(f"sweep: {setting.words} failed: {exc}")
                    if exc.is_fatal:
                        break
                else:
                    self.results.sweep.append(SweepPoint(setting=setting, samples_per_s=answer["samples_per_s"]))
                self.left.done(SWEEP, monotonic() - began)
        self.show.told(f"sweep at {place.name}: {len(self.results.sweep)} settings of aioloader")


def sweep_settings() -> list[SweepSetting]:
    """Of each point."""
    cores = usable_cores()
    workers = sorted({1, *(2**power for power in range(1, 10) if 2**power < cores), cores})
    return [
        SweepSetting(knob=knob, value=value, use_multiprocessing=in_processes)
        for knob, values in (("concurrency", CONCURRENCIES), ("workers", workers))
        for in_processes in (False, True)
        for value in values
    ]
