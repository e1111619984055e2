"""A row's race: a sweep where it is asked for, then rounds in which everyone runs once, each in another order."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from runner.job import Job

from race.neighbours import QUIET_SHARE, wait_for_quiet
from race.run_one import Outcome, run_one

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from race.bucket import Bucket
    from race.row import Competitor, Row

FAILURES_ALLOWED = 2
SWEEP_RUNS = 2
DISTURBED_SHARE = 0.1
"""A run in which others took more of the machine counts only where there is no other."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a row is run: ``count`` samples, ``rounds``, all option sets first or only the best known."""

    count: int
    rounds: int
    sweep: bool
    timeout_s: float
    patience_s: float = 0.0
    """How long each run may wait, or be done again, while others use the machine."""
    seed: int = 0


@dataclass
class Race:
    """What came of it: by competitor's key, by round; and what the sweep saw."""

    outcomes: dict[str, dict[int, Outcome]] = field(default_factory=dict)
    swept: dict[str, list[Outcome]] = field(default_factory=dict)

    def valid(self, key: str) -> dict[int, Outcome]:
        """The rounds that count."""
        return {number: run for number, run in self.outcomes.get(key, {}).items() if run.error is None}

    def quiet(self, key: str) -> dict[int, Outcome]:
        """Those of them in which others took little of the machine; empty where there are none."""
        return {number: run for number, run in self.valid(key).items() if run.others_share <= DISTURBED_SHARE}

    def best(self, key: str) -> dict[int, Outcome]:
        """The quiet rounds, or else the valid ones."""
        return self.quiet(key) or self.valid(key)

    def error(self, key: str) -> str | None:
        """Why a competitor has no figure, or what went wrong in some of its rounds."""
        errors = [run.error for run in self.outcomes.get(key, {}).values() if run.error is not None]
        return errors[0] if errors else None


def compete(
    row: Row,
    competitors: Sequence[Competitor],
    plan: Plan,
    pythons: dict[str, Path],
    folder: Path,
    bucket: Bucket | None,
) -> Race:
    """Run the row. Nobody's failure ends it; who fails twice is left out of the rounds that follow."""
    race, order = Race(), random.Random(plan.seed)

    def job_of(who: Competitor, variant: int) -> Job:
        return Job(
            peer=who.peer,
            row=row.letter,
            root=bucket.url if bucket and not reads_files(who) else f"{folder}/",
            count=min(plan.count, who.most or plan.count),
            extension=row.objects.extension,
            body_bytes=row.objects.body_bytes,
            batch_size=row.batch_size,
            decoder=who.decoder,
            through_fit=row.through_fit and not who.is_reference,
            options=who.variants[variant],
        )

    def run(who: Competitor, variant: int, label: str) -> Outcome:
        began = monotonic()
        # Which try counts is chosen by the neighbours' work, never by the figure.
        tries: list[Outcome] = []
        while not tries or (monotonic() < began + plan.patience_s and tries[-1].others_share > QUIET_SHARE):
            wait_for_quiet(began + plan.patience_s)
            tries.append(run_one(pythons[who.peer], job_of(who, variant), bucket, plan.timeout_s))
            if tries[-1].error:
                break
        outcome = min(tries, key=lambda one: one.others_share)
        said = told(outcome.error)[:200] if outcome.error else f"{outcome.samples_per_s:,.0f}/s"
        how = f"{monotonic() - began:.0f} s, {len(tries)} tries, others {outcome.others_share:.0%}"
        print(f"{row.letter} {label} {who.key}: {said} ({how})", file=sys.stderr, flush=True)
        return outcome

    best = {who.key: 0 for who in competitors}
    if plan.sweep:
        for who in competitors:
            if len(who.variants) > 1:
                variants = range(len(who.variants))
                tried = [[run(who, variant, f"sweep {variant}") for variant in variants] for _ in range(SWEEP_RUNS)]
                race.swept[who.key] = [outcome for some in tried for outcome in some]
                best[who.key] = max(variants, key=lambda v: sum(_score(row, some[v]) for some in tried))

    failures = dict.fromkeys(best, 0)
    for number in range(plan.rounds):
        for who in order.sample(list(competitors), len(competitors)):
            if failures[who.key] < FAILURES_ALLOWED:
                outcome = run(who, best[who.key], f"round {number + 1}/{plan.rounds}")
                failures[who.key] += outcome.error is not None
                race.outcomes.setdefault(who.key, {})[number] = outcome
    return race


def _score(row: Row, outcome: Outcome) -> float:
    return 0.0 if outcome.error else float(getattr(outcome, row.headline))


def told(error: str) -> str:
    """An outcome's error on one line: what happened, and the last line of its output that names an error."""
    what, *output = error.splitlines()
    named = [line.strip() for line in output if "Error" in line or "Exception" in line]
    return f"{what}; {named[-1]}" if named else what


def reads_files(who: Competitor) -> bool:
    """Whether it has no use for the bucket: the decoder alone."""
    return who.variants[0].get("what") == "decode"
