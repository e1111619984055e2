"""``@pytest.mark.fault``: which row of the fault matrix a test is for, its seeds, and the table of what came out.

Tests that take ``fault_seed`` run once for each of ``--fault-seeds`` seeds, the first of which is drawn, or
``--fault-seed``; it stands in the test's id, and naming such an id on the command line takes its seed again. A test
says by the fixture ``seen`` what it saw: ``seen.exact()``, ``seen.error(exc)``. With ``--reliability-table FILE.md``
what was seen is kept in ``FILE.json`` beside what other runs saw, and both tables are written anew.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.matrix import ROWS, STORES
from tests.faults.table import Result, render

if TYPE_CHECKING:
    from collections.abc import Generator

SEED = re.compile(r"seed=(\d+)")
_ITS_PLACE = re.compile(r"seed=\d+-|-?seed=\d+")
_SEEN: pytest.StashKey[Seen] = pytest.StashKey()


class Seen:
    """What a test saw: each run's outcome."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def exact(self, runs: int = 1) -> None:
        """Every sample came once, with its own bytes."""
        self.outcomes["exact"] += runs

    def error(self, error: BaseException, runs: int = 1) -> None:
        """The error that the row asks for came, naming its sample."""
        self.outcomes[type(error).__name__] += runs


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Seen:
    """Where a fault test says what it saw."""
    node: pytest.Item = request.node
    return node.stash.setdefault(_SEEN, Seen())


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-seeds", type=int, default=1, help="runs of each fault test, each with another seed")
    group.addoption("--fault-seed", type=int, default=None, help="the first seed; drawn, and told, otherwise")
    group.addoption("--reliability-table", type=Path, default=None, help="write what was seen into this Markdown file")
    group.addoption("--fault-markers", type=Path, default=None, help="write which test is for which row, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.fault_seed is None:
        named = [int(found[1]) for word in config.args if (found := SEED.search(word))]
        config.option.fault_seed = named[0] if named else random.SystemRandom().randrange(1, 1_000_000)
    config.pluginmanager.register(_Table(config), "reliability-table")


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: --fault-seed {config.option.fault_seed} --fault-seeds {config.option.fault_seeds}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault_seed" in metafunc.fixturenames:
        first = metafunc.config.option.fault_seed
        seeds = range(first, first + metafunc.config.option.fault_seeds)
        metafunc.parametrize("fault_seed", seeds, ids=[f"seed={seed}" for seed in seeds])


def name_of(item: pytest.Item) -> str:
    """The test's id without its seed, and without ``tests/``."""
    return _ITS_PLACE.sub("", item.nodeid).replace("[]", "").removeprefix("tests/")


def marks_of(item: pytest.Item) -> list[tuple[int, tuple[str, ...]]]:
    """The rows that a test is for, each with its stores."""
    found = []
    for mark in item.iter_markers("fault"):
        row, stores = mark.kwargs["row"], tuple(mark.kwargs["stores"])
        if row not in ROWS or not set(stores) <= set(STORES):
            raise pytest.UsageError(f"{item.nodeid}: no such row or store: {row}, {stores}")
        found.append((row, stores))
    return found


@dataclass(eq=False)
class _Table:
    """Collects what marked tests saw, and writes it."""

    config: pytest.Config
    results: dict[str, Result] = field(default_factory=dict)
    marked: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        path: Path | None = self.config.option.fault_markers
        self.marked = {name_of(item): marks for item in session.items if (marks := marks_of(item))}
        if path is not None:
            path.write_text(json.dumps(self.marked))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        marks = marks_of(item)
        if marks and (report.when == "call" or not report.passed):
            self._keep(item, report, marks)
        return report

    def _keep(self, item: pytest.Item, report: pytest.TestReport, marks: list[tuple[int, tuple[str, ...]]]) -> None:
        result = self.results.setdefault(name_of(item), Result(marks=marks))
        if report.skipped:
            return
        if report.failed:
            result.outcomes["FAILED"] += 1
            return
        outcomes = item.stash.get(_SEEN, Seen()).outcomes or Counter({"as told": 1})
        result.outcomes.update(outcomes)
        found = SEED.search(item.nodeid)
        if found is not None:
            result.seeds.append(int(found[1]))

    def pytest_sessionfinish(self) -> None:
        path: Path | None = self.config.option.reliability_table
        if path is None:
            return
        kept_in = path.with_suffix(".json")
        kept = read_kept(kept_in)
        kept.update({name: result for name, result in self.results.items() if result.outcomes})
        if self.config.option.collectonly:  # nothing ran: only what tests are there, and for which rows, is new
            there = {name: result for name, result in kept.items() if name in self.marked}
            kept = {name: Result(self.marked[name], of.outcomes, of.seeds) for name, of in there.items()}
        lines = [f"{json.dumps(name)}: {json.dumps(kept[name].record())}" for name in sorted(kept)]
        kept_in.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        path.write_text(render(kept))


def read_kept(path: Path) -> dict[str, Result]:
    """What earlier runs saw, by test."""
    records = json.loads(path.read_text()) if path.exists() else {}
    return {name: Result.of(**record) for name, record in records.items()}
