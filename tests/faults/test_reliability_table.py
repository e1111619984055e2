"""``docs/reliability.md`` is what marked tests saw: none is missing, none is gone, and nobody wrote it by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.matrix import ROWS
from tests.faults.table import Marks, Result, cell_of, render, seeds_of, spans
from tests.reliability import read_kept

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reliability.md"
REMEDY = "run scripts/reliability_table with these tests; then with --no-run, for those that are gone"


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each marked test of the whole suite with its rows, as pytest collects them."""
    path = tmp_path_factory.mktemp("markers") / "markers.json"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    subprocess.run([*command, "--fault-markers", str(path), "tests"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_marked_test_stands_in_the_table_with_its_rows(marked: dict[str, Any]) -> None:
    kept = {name: result.record()["marks"] for name, result in read_kept(TABLE.with_suffix(".json")).items()}
    as_json = {name: [[row, list(stores)] for row, stores in marks] for name, marks in kept.items()}
    assert sorted(set(marked) - set(kept)) == [], REMEDY
    assert sorted(set(kept) - set(marked)) == [], REMEDY
    assert as_json == marked, REMEDY


def test_the_table_is_written_from_what_was_seen() -> None:
    kept = read_kept(TABLE.with_suffix(".json"))
    assert TABLE.read_text() == render(kept), REMEDY
    assert "FAILED" not in {outcome for result in kept.values() for outcome in result.outcomes}


def test_a_cell_says_what_holds_what_cannot_and_what_was_not_run() -> None:
    marks: dict[str, Marks] = {
        "faults/test_a.py::test_x[http fast]": [(6, ("http",))],
        "faults/test_a.py::test_x[y]": [(6, ("http",))],
    }
    assert cell_of(marks, 6, "http") == "holds (`test_a.py::test_x`)"
    assert cell_of(marks, 6, "s3") == "not run"
    assert cell_of(marks, 6, "local") == f"cannot ({ROWS[6].cannot['local']})"


def test_a_failed_run_shows_in_both_tables() -> None:
    result = Result([(7, ("s3",))])
    result.outcomes.update({"exact": 3, "FAILED": 1})
    text = render({"faults/test_a.py::test_x": result})
    assert "exact 3, FAILED 1" in text
    assert "FAILED (`faults/test_a.py::test_x`)" in text


def test_seeds_are_told_as_spans() -> None:
    assert spans([3, 1, 2, 7, 9, 8, 20]) == "1-3, 7-9, 20"
    assert seeds_of("1-3, 7-9, 20") == [1, 2, 3, 7, 8, 9, 20]
    assert seeds_of("") == []
