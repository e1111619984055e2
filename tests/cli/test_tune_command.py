"""``aioloader tune`` on real buckets: what it recommends, that its code runs, and how it ends."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.cli.bucket_process import bucket_process
from aioloader.cli.digits import write_digits
from aioloader.cli.main import main
from aioloader.runtime.machine import usable_cores
from tests.view.chromium import CHROMIUM, running
from tests.view.looking import look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Start


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


@dataclass(frozen=True)
class Tuned:
    """What a run printed and wrote."""

    out: str
    found: dict[str, Any]
    page: Path

    @property
    def code(self) -> str:
        """The program to paste."""
        begin = self.out.index("import aioloader as al\n")
        return self.out[begin : self.out.index("\n)\n", begin) + 3]

    def names(self) -> dict[str, Any]:
        """What the program defines; its loader is to be closed."""
        names: dict[str, Any] = {}
        exec(self.code, names)
        return names


def tune(folder: Path, *arguments: str) -> Tuned:
    """The command in this process."""
    page, figures = folder / "tune.html", folder / "tune.json"
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main(["tune", *arguments, "--plot", str(page), "--json", str(figures)])
    assert code == 0, err.getvalue()
    assert "single requests; about" in err.getvalue()
    return Tuned(out.getvalue(), json.loads(figures.read_text()), page)


@pytest.fixture(scope="module")
def quick(digits: Path) -> Iterator[str]:
    """A bucket of 1 ms."""
    with bucket_process(digits, 0.001) as url:
        yield url


@pytest.fixture(scope="module")
def slow_model(quick: str, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """For a model that takes 80 ms for 16 samples."""
    options = ["--decode", "image:32x32", "--batch-size", "16", "--step-time", "80ms", "--seconds", "10s"]
    return tune(tmp_path_factory.mktemp("slow-model"), f"{quick}train/", "--samples", "500", *options)


def test_a_slow_model_needs_few_requests(slow_model: Tuned) -> None:
    found, out = slow_model.found, slow_model.out
    assert found["run"]["verdict"]["limit"] == "consumer"
    assert "verdict: consumer: " in out
    assert "your model at 80.0 ms a batch of 16 takes 200 samples/s" in out
    assert "500 of 1,797 samples at " in out
    assert found["recommended"]["concurrency"] <= 32, out
    assert "with fewer requests in flight" in found["recommended"]["reason"]
    assert found["requests"]["p50_s"] < 0.05
    assert found["decodes"]["batch_bytes"] == 16 * 32 * 32 * 3
    assert found["keras"]["workers"] >= 1
    assert not found["is_interrupted"]


def test_the_printed_code_runs_with_what_is_recommended(slow_model: Tuned, quick: str) -> None:
    with slow_model.names()["loader"] as loader:
        images, labels = next(iter(loader))
        assert images.shape == (16, 32, 32, 3)
        assert labels.shape == (16,)
        assert len(loader.data) == 1797
        recommended = slow_model.found["recommended"]
        for knob in ("concurrency", "workers", "use_multiprocessing", "max_queue_size"):
            assert getattr(loader.settings, knob) == recommended[knob]


@pytest.mark.chromium
async def test_the_page_shows_charts(slow_model: Tuned, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    text = slow_model.page.read_text()
    for part in ("What to write", "Over time", "Against its neighbours", "Latency", "al.ImageDecoder(size=(32, 32))"):
        assert part in text
    async with running(tmp_path / "chromium") as browser:
        for width in (1280, 400):
            await look(browser, slow_model.page, width)


def test_a_distant_store_needs_many_requests(digits: Path, tmp_path: Path) -> None:
    with bucket_process(digits, 0.1) as url:
        run = tune(tmp_path, f"{url}train/", "--decode", "none", "--seconds", "8s")
        with run.names()["loader"] as loader:
            assert next(iter(loader))[0].shape == (64,)
    assert run.found["recommended"]["concurrency"] >= 64
    assert run.found["requests"]["p50_s"] >= 0.1
    assert any("concurrency=128: all 64 in flight" in line for line in run.out.splitlines())


def test_raw_bytes_are_read_by_the_printed_code(quick: str, tmp_path: Path) -> None:
    run = tune(tmp_path, f"{quick}train/", "--decode", "raw", "--samples", "50", "--seconds", "2s")
    with run.names()["loader"] as loader:
        data, _ = next(iter(loader))
    assert data.dtype == np.uint8
    assert bytes(data[0, :4]) == b"\x89PNG"


HOLDS_THE_GIL = """
import numpy as np

def decode(data):
    total = 0
    for number in range(100_000):
        total += number
    return np.array(total % 251)
"""


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, which programs may import from; nothing of it stays imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.skipif(usable_cores() < 2, reason="one core has no use for processes")
def test_a_decoder_that_holds_the_gil_gets_processes(digits: Path, in_a_folder: Path) -> None:
    (in_a_folder / "slow_decoder.py").write_text(HOLDS_THE_GIL)
    with bucket_process(digits, 0.005) as url:
        options = ["--decode", "slow_decoder:decode", "--batch-size", "8", "--seconds", "15s"]
        run = tune(in_a_folder, f"{url}train/", "--samples", "400", *options)
        assert "from slow_decoder import decode\n" in run.code
        had = run.found["decodes"]["scaling_without_gil"]
        if had < 1.3 and not run.found["recommended"]["use_multiprocessing"]:
            pytest.skip(f"other programs left two threads {had:.2f} cores: two processes cannot be seen to be faster")
        with run.names()["loader"] as loader:
            assert loader.settings.use_multiprocessing, run.out
            assert next(iter(loader))[0].shape == (8,)
    assert run.found["recommended"]["use_multiprocessing"] is True, run.out
    assert run.found["keras"]["use_multiprocessing"] is True
    assert run.found["decodes"]["scaling"] < 1.6


CANNOT_BE_SENT = """
import threading
import numpy as np

def made():
    lock = threading.Lock()
    def decode(data):
        with lock:
            return np.array(sum(range(100_000)) + len(data))
    return decode

decode = made()
decode.__module__ = "__main__"
"""


@pytest.mark.skipif(usable_cores() < 2, reason="one core has no use for processes")
def test_a_decoder_that_cannot_be_sent_to_processes_stays_in_threads(quick: str, in_a_folder: Path) -> None:
    (in_a_folder / "with_a_lock.py").write_text(CANNOT_BE_SENT)
    options = ["--decode", "with_a_lock:decode", "--batch-size", "8", "--seconds", "6s"]
    run = tune(in_a_folder, f"{quick}train/", "--samples", "400", *options)
    assert run.found["recommended"]["use_multiprocessing"] is False
    failed = [one for one in run.found["compared"] if one["failure"]]
    assert [one["use_multiprocessing"] for one in failed] == [True], run.out
    assert "can be sent to a worker process" in failed[0]["failure"]


def read_until(process: Any, words: str) -> None:
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"{words!r} was never said")


def test_ctrl_c_prints_what_is_known(digits: Path, tmp_path: Path, start: Start) -> None:
    with bucket_process(digits, 0.01) as url:
        page = tmp_path / "page.html"
        process = start("tune", f"{url}train/", "--decode", "image:32x32", "--seconds", "9s", "--plot", str(page))
        read_until(process, "settings in turns")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""
    assert "a request alone" in out
    assert "verdict: " in out
    assert "loader = al.Loader(" in out
    assert page.exists()


def test_ctrl_c_before_the_loader_ran_recommends_nothing(digits: Path, tmp_path: Path, start: Start) -> None:
    with bucket_process(digits, 0.01) as url:
        process = start("tune", f"{url}train/", "--seconds", "40s", "--plot", str(tmp_path / "page.html"))
        read_until(process, "decoding on one thread")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "a request alone" in out
    assert "Too little was measured to recommend anything." in out
    assert "al.Loader(" not in out


def test_no_secret_of_the_address_is_shown(quick: str, tmp_path: Path) -> None:
    address = quick.replace("http://", "http://bob:hunter2@") + "train/"
    run = tune(tmp_path, address, "--decode", "none", "--samples", "100", "--seconds", "2s")
    for text in (run.out, json.dumps(run.found), run.page.read_text()):
        assert "hunter2" not in text
        assert "bob" not in text
    assert "# The address is shown without its secrets." in run.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["EMPTY"], "no images under "),
        (["/no/such/folder"], "no/such/folder"),
        (["http://127.0.0.1:9/train/"], "127.0.0.1:9"),
        (["DIGITS", "--decode", "no_such_module:decode"], "decode='no_such_module:decode': expected a function that "),
        (["DIGITS", "--decode", "json:no_such_name"], "decode='json:no_such_name': expected a function that "),
        (["DIGITS", "--decode", "jpeg"], "decode='jpeg': expected image:HEIGHTxWIDTH"),
        (["DIGITS", "--decode", "json:loads"], "the decoder json:loads fails on the first sample, 0/"),
        (["DIGITS", "--samples", "0"], "samples=0: expected 1 or more"),
        (["DIGITS", "--batch-size", "-1"], "batch-size=-1: expected 1 or more"),
        (["DIGITS", "--seconds", "0"], "seconds=0: expected 1 second to an hour"),
        (["DIGITS", "--plot", "no/such/folder/page.html"], "plot='no/such/folder/page.html': expected a file in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_sentence_and_code_2(
    arguments: list[str],
    message: str,
    digits: Path,
    in_a_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (in_a_folder / "empty").mkdir()
    places = {"DIGITS": str(digits / "train"), "EMPTY": str(in_a_folder / "empty")}
    assert main(["tune", places.get(arguments[0], arguments[0]), *arguments[1:]]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "; about " not in line]
    assert len(said) == 1
    assert said[0].startswith("aioloader: ")
    assert message in said[0]
