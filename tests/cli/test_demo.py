"""The demo's parts, and the whole of it once."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from aioloader.cli.bucket_process import bucket_process
from aioloader.cli.digits import write_digits
from aioloader.cli.main import main
from aioloader.cli.one_by_one import seconds_per_read
from aioloader.errors import AioloaderError, OptionError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Start


def refuses_connections(url: str, within_s: float) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection((address.hostname, address.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.02)
    return False


def test_all_digits_are_written_as_they_are(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    keys = write_digits(tmp_path)
    assert len(set(keys)) == 1797
    assert {key.split("/")[1] for key in keys} == set("0123456789")
    for number in (0, 1000, 1796):
        with Image.open(tmp_path / keys[number]) as image:
            assert image.mode == "L"
            pixels = np.asarray(image)
        assert keys[number].split("/")[1] == str(digits.target[number])
        np.testing.assert_array_equal(np.round(pixels / (255 / 16)), digits.images[number])


def test_digits_can_be_written_twice_but_not_beside_other_files(tmp_path: Path) -> None:
    assert write_digits(tmp_path) == write_digits(tmp_path)
    (tmp_path / "train" / "3" / "mine.png").write_bytes(b"")
    with pytest.raises(OptionError, match=r"train/3/mine\.png is not a digit"):
        write_digits(tmp_path)


def test_a_bucket_process_serves_with_latency_and_ends_with_its_block(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_bytes(b"hello")
    with bucket_process(tmp_path, 0.05) as url:
        assert seconds_per_read(url, ["a b.txt"] * 4) >= 0.05
        with pytest.raises(AioloaderError, match="GET of missing was answered 404"):
            seconds_per_read(url, ["missing"])
    assert refuses_connections(url, within_s=0.5)


def test_a_bucket_process_ends_with_an_error_of_its_block(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), bucket_process(tmp_path, 0) as url:
        raise KeyboardInterrupt
    assert refuses_connections(url, within_s=0.5)


def test_a_bucket_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AioloaderError, match="did not start"), bucket_process(tmp_path / "missing", 0):
        pass


def test_a_bucket_process_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = "import sys, pathlib; from aioloader.cli.bucket_process import bucket_process\n"
    program += "with bucket_process(pathlib.Path(sys.argv[1]), 0) as url: print(url, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        parent.kill()
    assert refuses_connections(url, within_s=10)


def test_a_missing_package_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setitem(sys.modules, "keras", None)
    assert main(["demo", "--dir", str(tmp_path)]) == 2
    assert capfd.readouterr().err == "aioloader: the demo needs keras: pip install 'aioloader[demo]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.keras
def test_the_demo_learns_and_is_faster_than_one_by_one(start: Start) -> None:
    process = start("demo", "--epochs", "3")
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    assert err == ""
    assert float(out.rpartition("validation accuracy ")[2]) > 0.9
    assert "epoch 3/3" in out
    times = int(out.partition("training included; ")[2].split()[0])
    assert times > 2


@pytest.mark.keras
def test_ctrl_c_ends_the_demo_quietly_with_its_bucket(start: Start) -> None:
    process = start("demo", "--epochs", "1000")
    assert process.stdout is not None
    url = next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
    assert not refuses_connections(url, within_s=0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    assert refuses_connections(url, within_s=0.5)
