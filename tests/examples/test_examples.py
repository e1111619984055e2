"""Every example runs as its first lines say, on the data it brings and on the caller's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).parents[2] / "examples"
NOT_AN_EXAMPLE = {"sample_data.py"}

# Each promises less than a minute on two cores that do nothing else; the test run's cores are busy.
TIME_LIMIT_S = 110


@dataclass(frozen=True)
class Example:
    """A file and a line that it prints where all went well, as a regular expression."""

    name: str
    prints: str


WITHOUT_TENSORFLOW = [
    Example("async_loop.py", r"^300 of 300 samples in 10 batches, 2,073,600 bytes of pixels$"),
    Example("flaky_server.py", r"^second run: 300 of 300 samples, 100% of them from the cache$"),
    Example("manifest_csv.py", r"^weight of each class \[20\. 20\. 40\.\]$"),
    Example("numpy_loop.py", r"^1152 samples in [\d.]+ s, "),  # 4 epochs of 9 full batches of 32
    Example("own_decoder.py", r"^the same augmented pixels whatever the workers: True$"),
    Example("s3_bucket.py", r"^aioloader: 288 samples in 9 batches from s3://shapes/train/$"),
    Example("skip_and_ledger.py", r"^next run: 297 of 300 samples, none of them bad$"),
]
WITH_TENSORFLOW = ["train_keras.py"]


def run_example(
    name: str, *arguments: str, folder: Path, warnings: str = "error", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The example run by an interpreter of its own in ``folder``, with what it printed."""
    return subprocess.run(
        [sys.executable, "-W", warnings, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A caller's own images: four JPEGs in two class folders, of a size unlike the samples'."""
    folder = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for key in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg"):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(folder / key)
    return folder


def test_every_example_in_the_folder_is_run_here() -> None:
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == {example.name for example in WITHOUT_TENSORFLOW} | set(WITH_TENSORFLOW) | NOT_AN_EXAMPLE


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in NOT_AN_EXAMPLE))
def test_the_first_lines_say_how_to_run_it(name: str) -> None:
    first_lines = (EXAMPLES / name).read_text(encoding="utf-8").split('"""')[1].splitlines()
    assert first_lines[0].endswith(".")
    assert sum(f"python examples/{name} " in line for line in first_lines) >= 2, "without an argument, and with"


@pytest.mark.parametrize("example", WITHOUT_TENSORFLOW, ids=lambda example: example.name)
def test_it_runs_on_the_data_it_brings_without_a_warning(example: Example, tmp_path: Path) -> None:
    ran = run_example(example.name, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert re.search(example.prints, ran.stdout, re.MULTILINE), ran.stdout
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == [], "it left files behind"


@pytest.mark.keras
def test_the_keras_example_learns_its_shapes(tmp_path: Path) -> None:
    # TensorFlow warns while it is imported: warnings are no errors here.
    ran = run_example("train_keras.py", folder=tmp_path, warnings="default")
    assert ran.returncode == 0, ran.stderr
    accuracy = re.search(r"^validation accuracy ([\d.]+)$", ran.stdout, re.MULTILINE)
    assert accuracy is not None, ran.stdout
    assert float(accuracy[1]) > 0.8, ran.stdout  # guessing gives 0.33
    assert re.search(r"^aioloader: 1,792 samples in 112 batches", ran.stdout, re.MULTILINE), ran.stdout


@pytest.mark.parametrize(
    ("name", "prints"),
    [
        ("async_loop.py", r"^4 of 4 samples in 1 batches"),
        ("numpy_loop.py", r"^samples of each class \[2 2\]"),
        ("own_decoder.py", r"^the same augmented pixels whatever the workers: True$"),
        ("skip_and_ledger.py", r"^next run: 4 of 4 samples"),
    ],
)
def test_it_runs_on_a_folder_of_the_callers(name: str, prints: str, own_folder: Path, tmp_path: Path) -> None:
    ran = run_example(name, str(own_folder), folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert re.search(prints, ran.stdout, re.MULTILINE), ran.stdout


def test_the_manifest_example_runs_on_a_csv_and_a_root_of_the_callers(own_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("key,label,weight\ncat/1.jpg,cat,0.5\ndog/2.jpg,dog,3\n", encoding="utf-8")
    ran = run_example("manifest_csv.py", "mine.csv", str(own_folder), folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "weight of each class [0.5 3. ]" in ran.stdout


def test_the_s3_example_says_what_to_pass_where_moto_is_missing(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "moto.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")
    ran = run_example("s3_bucket.py", folder=tmp_path, environment={"PYTHONPATH": str(modules)})
    assert ran.returncode == 1
    assert ran.stderr.startswith("no moto here (pip install")
    assert "pass s3://bucket/prefix/" in ran.stderr
    assert "Traceback" not in ran.stderr
