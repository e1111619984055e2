"""`memory_bound()` is true: measured on a fresh process and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("memory_run.py")
CONSTANT_BYTES = 12_000_000
"""What no bound counts: the sample being read and the one being decoded in each worker, heaps that grew for them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 bodies of 1 MB in all 150 MB, and a few small ones."""
    made = tmp_path_factory.mktemp("large") / "a"
    made.mkdir()
    body = os.urandom(1_000_000)
    for index in range(150):
        (made / f"{index:03}.bin").write_bytes(body)
    for index in range(16):
        (made / f"{index:03}.small").write_bytes(bytes(100))
    return made.parent


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_loader_takes_no_more_memory_than_it_says(folder: Path, workers: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), workers, "60MB"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["bound"] <= 60_000_000
    assert figures["peak"] < figures["bound"] + CONSTANT_BYTES
    assert figures["peak"] > 15_000_000, "it did not run ahead: nothing was measured"
    assert figures["whole"] > 2 * figures["bound"], "the bound was never in reach"
