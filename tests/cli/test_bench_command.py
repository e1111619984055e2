"""``aioloader bench`` from the command line: what it prints and writes, its errors, its end."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.cli.bench.race import sweep_settings
from aioloader.cli.main import main
from aioloader.serve.thread import serve_in_thread
from tests.cli.bench_rig import Marked, write_images
from tests.view.chromium import CHROMIUM, running
from tests.view.looking import look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Start

SAMPLES = 96


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bench")
    write_images(folder, SAMPLES)
    with serve_in_thread(folder) as server:
        yield server.url


@pytest.fixture(scope="module")
def written(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of one run, and ``said``: what it printed."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aioloader.cli.bench.race.CONCURRENCIES", (1, 16))
        patch.setattr("sys.stdout", said := (folder / "said").open("w+"))
        options = ["--modes", "sync,threads,torch,aioloader", "--batch-size", "8", "--seconds", "0.3", "--rounds", "2"]
        options += ["--decode", "image:32x32", "--json", str(folder / "b.json"), "--html", str(folder / "b.html")]
        assert main(["bench", url, *options]) == 0
        said.close()
    return folder


def test_the_table_names_each_mode_with_its_figures_and_the_last_line_what_to_write(written: Path, url: str) -> None:
    said = (written / "said").read_text()
    assert said.startswith(f"{SAMPLES} samples at {url}, decoded to uint8[32, 32, 3]\n")
    figures = r"[\d,.]+ +[\d,.]+ to [\d,.]+ +[\d.]+ s +[\d.]+ +[\d,]+ +2 of 2"
    for title in ("sync loop", "threads", "aioloader, auto"):
        assert len(re.findall(rf"^{title} +{figures}$", said, re.MULTILINE)) == 1
    assert "In code: al.Loader(data, decode=al.ImageDecoder(size=(32, 32)), batch_size=8)\n" in said


def test_the_json_holds_every_run_and_its_summary(written: Path, url: str) -> None:
    whole: dict[str, Any] = json.loads((written / "b.json").read_text())
    assert set(whole) == {
        "schema", "about", "closing", "modes", "places", "summary", "sweep", "auto", "runs", "others_share",
        "is_interrupted",
    }  # fmt: skip
    assert whole["places"] == [url]
    assert [mode["name"] for mode in whole["modes"]] == ["sync", "threads", "torch", "aioloader"]
    for run in whole["runs"]:
        assert run["error"] == ""
        assert run["answer"]["why_invalid"] == ""
        assert 0 < run["answer"]["samples"] <= SAMPLES
    assert {(run["mode"], run["round_number"]) for run in whole["runs"]} >= {
        (mode, number) for mode in ("sync", "threads", "aioloader") for number in (0, 1)
    }
    for cell in whole["summary"]:
        assert cell["valid_runs"] == 2
        speed = cell["figures"]["samples_per_s"]
        assert 0 < speed["low"] <= speed["median"] <= speed["high"]
    assert {(point["knob"], point["use_multiprocessing"]) for point in whole["sweep"]} == {
        (knob, in_processes) for knob in ("concurrency", "workers") for in_processes in (False, True)
    }
    assert {point["concurrency"] for point in whole["sweep"] if point["knob"] == "workers"} == {64}
    assert all(point["concurrency"] == point["value"] for point in whole["sweep"] if point["knob"] == "concurrency")
    assert sum(count for _, _, count in whole["auto"]["fetch_bins"]) == SAMPLES
    assert whole["auto"]["sentence"]


def test_no_point_of_the_sweep_begins_with_what_auto_found_at_another() -> None:
    for setting in sweep_settings():
        assert isinstance(setting.knobs["concurrency"], int)
        assert setting.knobs[setting.knob] == setting.value


def test_the_page_says_how_many_requests_were_allowed_while_the_workers_changed(written: Path) -> None:
    assert "but concurrency=64 wherever it is the workers that change." in (written / "b.html").read_text()


def test_the_page_is_self_contained(written: Path, url: str) -> None:
    page = (written / "b.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=", page)
    for heading in ("Throughput", "What the knobs do", "All figures", "how long requests took", "requests in flight"):
        assert heading in page


@pytest.mark.chromium
@pytest.mark.parametrize("width", [1280, 400])
async def test_the_page_is_readable_in_a_browser(written: Path, tmp_path: Path, width: int) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    async with running(tmp_path / "chromium") as browser:
        visit = await look(browser, written / "b.html", width)
        assert await visit.evaluate("document.querySelectorAll('svg[role=img]').length") >= 7


def test_modes_that_are_not_installed_are_told_and_left_out(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aioloader.cli.bench.modes.catalogue.find_spec", lambda name: None)
    options = ["--modes", "threads,tf.data", "--samples", "16", "--seconds", "0.1", "--rounds", "1"]
    assert main(["bench", url, *options]) == 0
    assert "  tf.data: not installed: pip install tensorflow\n" in capsys.readouterr().out


def test_a_mode_that_fails_is_told_with_its_sentence_and_the_others_go_on(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "picky.py").write_text(
        "import threading, numpy as np\n"
        "def decode(data):\n"
        "    if threading.current_thread() is not threading.main_thread():\n"
        "        raise RuntimeError('I work in the main thread only')\n"
        "    return np.zeros(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = ["--modes", "sync,threads", "--samples", "32", "--seconds", "0.1", "--rounds", "2"]
    assert main(["bench", url, "--decode", "picky:decode", *options]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^threads +failed$", out, re.MULTILINE)
    assert f"  threads, {url}: RuntimeError: I work in the main thread only\n" in out
    assert re.search(r"^sync loop .* 2 of 2$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modes", "sync,warp"], r"modes='warp': expected some of sync, threads, .*aioloader\n"),
        (["--rounds", "0"], r"rounds=0: expected 1 or more\n"),
        (["--latency", "5ms"], r"latency=given: expected no URL beside it: .*\n"),
        (["--json", "/no/such/folder/b.json"], r"json='/no/such/folder/b.json': expected a file in a folder .*\n"),
        (["--decode", "nothing:here"], r"the first sample cannot be loaded: decode='nothing:here': expected a .*\n"),
        (["--decode", "big"], r"the first sample cannot be loaded: decode='big': expected image:HEIGHTxWIDTH.*\n"),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_sentence_and_code_2(
    options: list[str], message: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", url, *options]) == 2
    said = capsys.readouterr()
    assert re.fullmatch("aioloader: " + message, said.err)
    assert said.out == ""


def test_an_address_without_images_is_one_sentence_and_code_2(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, words in ((str(tmp_path), "no images under"), (url + "nowhere/", "404"), ("ftp://x/", "url=")):
        assert main(["bench", address]) == 2
        said = capsys.readouterr()
        assert re.fullmatch(r"aioloader: .*\n", said.err)
        assert words in said.err


@pytest.mark.parametrize("modes", ["sync,aioloader-processes", "threads"])
def test_ctrl_c_prints_what_is_known_and_leaves_nothing(
    start: Start, url: str, modes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = Marked(monkeypatch)
    process = start("bench", url, "--modes", modes, "--rounds", "1000", "--seconds", "0.2", "--decode", "image:8x8")
    assert process.stderr is not None
    process.stderr.readline()  # one mode had its turn
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert re.search(r"^(sync loop|threads) +[\d,.]+ ", out, re.MULTILINE)
    assert out.endswith("interrupted: this is what was known by then\n")
    assert marked.wait_for(0, within_s=5) == set()


def test_sigterm_leaves_neither_processes_nor_the_folder_of_pictures(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    marked = Marked(monkeypatch)
    process = start("bench", "--latency", "0,5ms", "--modes", "sync", "--rounds", "1000", "--seconds", "0.2")
    assert process.stderr is not None
    process.stderr.readline()  # the mode had its turn
    assert [path.name[:16] for path in tmp_path.iterdir()] == ["aioloader-bench-"]
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    assert marked.wait_for(0, within_s=5) == set()


def test_sigterm_is_what_it_was_after_a_bench(url: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["bench", url, "--modes", "sync", "--samples", "16", "--seconds", "0.1", "--rounds", "1"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGTERM, own := lambda number, frame: None)
    try:
        assert main(["bench", url, "--modes", "sync", "--samples", "16", "--seconds", "0.1", "--rounds", "1"]) == 0
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_an_address_latencies_are_swept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = Marked(monkeypatch)
    options = ["--modes", "threads,asyncio", "--samples", "64", "--seconds", "0.2", "--rounds", "1"]
    assert main(["bench", "--latency", "0,20ms", *options]) == 0
    out = capsys.readouterr().out
    assert "\n0 ms a request " in out
    assert "\n20 ms a request " in out
    assert "At 20 ms a request: fastest is " in out
    assert marked.wait_for(0, within_s=5) == set()
