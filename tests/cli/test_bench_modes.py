"""Every mode reads the same samples, each once; what a child interpreter does when its mode fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import aioloader as al
from aioloader.cli.bench.child import CHECK
from aioloader.cli.bench.fetching import source_of
from aioloader.cli.bench.interpreter import Interpreter, RunFailedError
from aioloader.cli.bench.modes.catalogue import CATALOGUE
from aioloader.cli.bench.task import Task
from aioloader.cli.bench.work import Work
from aioloader.serve.thread import serve_in_thread
from tests.cli.bench_rig import Marked, write_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.s3_services import Service

SAMPLES = 40

DECODERS = """
import os, subprocess, time
import numpy as np

def sized(data):
    return np.array([len(data)]), np.float32(1)

def broken(data, sample):
    if sample.index == 17:
        raise ValueError("this one is broken")
    return np.zeros(3)

def stuck(data):
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(600)

def dead(data):
    os._exit(7)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bench")
    write_images(folder, SAMPLES)
    with serve_in_thread(folder) as server:
        yield server.url


@pytest.fixture
def _decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_decoders.py").write_text(DECODERS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def task(mode: str, root: str, decode: str = "image:32x32") -> Task:
    data = al.image_folder(root, label_mode=None)
    return Task(mode=mode, data=data, root=root, decode=decode, batch_size=6, seconds=5.0)


@pytest.fixture(scope="module")
def expected_checksum(url: str) -> int:
    """That of the first batch, by the mode that has least to go wrong."""
    with Interpreter() as child:
        checksum: int = child.ask(task("sync", url), 60)["first_checksum"]
    return checksum


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(name, marks=[pytest.mark.keras] if set(mode.needs) & {"keras", "tensorflow"} else [])
        for name, mode in CATALOGUE.items()
    ],
)
def test_a_mode_gives_every_sample_once_with_the_same_values(mode: str, url: str, expected_checksum: int) -> None:
    if CATALOGUE[mode].missing:
        pytest.skip(CATALOGUE[mode].missing)
    with Interpreter() as child:
        for _ in range(2):  # the second in the same interpreter
            answer = child.ask(task(mode, url), 60)
            assert answer["why_invalid"] == ""
            assert answer["samples"] == SAMPLES
            assert answer["first_checksum"] == expected_checksum
            assert answer["samples_per_s"] > 0
            assert answer["peak_bytes"] > 10_000_000
            assert answer["settings"]


@pytest.mark.parametrize("decode", ["raw", "none", "my_decoders:sized"])
@pytest.mark.usefixtures("_decoders")
def test_decoders_are_the_same_in_and_outside_of_aioloader(url: str, decode: str) -> None:
    with Interpreter() as child:
        answers = [child.ask(task(mode, url, decode), 60) for mode in ("sync", "threads", "aioloader")]
    assert [answer["why_invalid"] for answer in answers] == [""] * 3
    assert len({answer["first_checksum"] for answer in answers}) == 1


def test_a_folder_on_this_machine_is_read_without_a_server(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    with Interpreter() as child:
        answers = [child.ask(task(mode, str(tmp_path)), 60) for mode in ("sync", "asyncio", "aioloader")]
    assert len({answer["first_checksum"] for answer in answers}) == 1
    assert [answer["samples"] for answer in answers] == [12] * 3


def test_a_bucket_is_read_with_the_environments_keys(
    moto: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, 12)
    paths = list(tmp_path.rglob("*.jpg"))
    bucket = moto.new_bucket({f"train/{path.relative_to(tmp_path)}": path.read_bytes() for path in paths})
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_access_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with Interpreter() as child:
        answers = [
            child.ask(task(mode, f"s3://{bucket}/train/"), 60) for mode in ("sync", "threads", "asyncio", "aioloader")
        ]
    assert [answer["why_invalid"] for answer in answers] == [""] * 4
    assert len({answer["first_checksum"] for answer in answers}) == 1


def test_a_byte_range_is_asked_for_as_such(tmp_path: Path) -> None:
    (tmp_path / "whole.bin").write_bytes(bytes(range(100)))
    with serve_in_thread(tmp_path) as server:
        for root in (server.url, str(tmp_path)):
            sample = al.SampleRef(index=0, key="whole.bin", byte_range=(10, 14))
            source = source_of(root)
            assert source.get(sample) == bytes([10, 11, 12, 13])
            source.close()


@pytest.mark.usefixtures("_decoders")
def test_a_mode_that_raises_is_a_sentence_and_the_interpreter_goes_on(url: str) -> None:
    with Interpreter() as child:
        for mode in ("threads", "aioloader"):
            with pytest.raises(RunFailedError, match=r"this one is broken|sample 17") as failed:
                child.ask(task(mode, url, "my_decoders:broken"), 60)
            assert not failed.value.is_fatal
            assert "\n" not in str(failed.value)
        assert child.ask(task("threads", url), 60)["samples"] == SAMPLES


@pytest.mark.parametrize("mode", ["threads", "aioloader-processes"])
@pytest.mark.usefixtures("_decoders")
def test_a_mode_that_hangs_is_ended_with_all_its_processes(
    url: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = Marked(monkeypatch)
    with pytest.raises(RunFailedError, match="it did not end within 3 s") as failed, Interpreter() as child:
        child.ask(task(mode, url, "my_decoders:stuck"), 3)
    assert failed.value.is_fatal
    assert marked.wait_for(0, within_s=10) == set()


@pytest.mark.usefixtures("_decoders")
def test_an_interpreter_that_dies_is_told_with_its_status(url: str) -> None:
    with pytest.raises(RunFailedError, match="ended with exit status 7") as failed, Interpreter() as child:
        child.ask(task("sync", url, "my_decoders:dead"), 60)
    assert failed.value.is_fatal


@pytest.mark.usefixtures("_decoders")
def test_a_decoder_that_cannot_be_imported_is_named(url: str) -> None:
    with Interpreter() as child:
        for decode, words in (
            ("my_decoders:missing", "has no attribute 'missing'"),
            ("no_such_module:f", "No module named 'no_such_module'"),
            ("image:big", "expected image:HEIGHTxWIDTH"),
        ):
            with pytest.raises(RunFailedError, match=words):
                child.ask(task(CHECK, url, decode), 60)


PARENT = """
import sys
import aioloader as al
from aioloader.cli.bench.interpreter import Interpreter
from aioloader.cli.bench.task import Task
data = al.image_folder(sys.argv[1], label_mode=None)
with Interpreter() as child:
    print("started", flush=True)
    task = Task(mode="aioloader-processes", data=data, root=sys.argv[1], decode="my_decoders:stuck",
                batch_size=6, seconds=5.0)
    child.ask(task, 60)
"""


@pytest.mark.usefixtures("_decoders")
def test_a_killed_parent_takes_its_interpreters_along(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = Marked(monkeypatch)
    with subprocess.Popen([sys.executable, "-c", PARENT, url], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        assert len(marked.wait_for(3)) >= 3  # the parent, its interpreter, and a worker of that
        parent.send_signal(signal.SIGKILL)
    assert marked.wait_for(0) == set()


def test_the_parent_imports_nothing_of_a_mode(url: str) -> None:
    program = "import sys; from aioloader.cli.main import main; main(['bench', '--modes', 'list']); "
    program += "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == list(CATALOGUE)


def test_the_work_of_modes_goes_by_the_sample(url: str) -> None:
    work = Work(task("sync", url))
    assert [len(ids) for ids in work.batches()] == [6] * 6 + [4]
    assert work.sample(3)[0].shape == (32, 32, 3)
    work.source.close()
