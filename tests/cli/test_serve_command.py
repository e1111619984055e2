"""``aioloader serve`` as a process: what it says, what it serves, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a b.txt").write_bytes(b"hello")
    return tmp_path / "bucket"


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


def ended(process: subprocess.Popen[str], ending: signal.Signals) -> tuple[str, str]:
    """The rest of both outputs; not by communicate(), which forgets lines that readline() took in advance."""
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(ending)
    outputs = process.stdout.read(), process.stderr.read()
    process.wait(20)
    return outputs


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_frees_the_port(start: Start, folder: Path, ending: signal.Signals) -> None:
    process = start("serve", str(folder), "--port", "0")
    url = url_of(process)
    with urlopen(url + "a%20b.txt") as response:
        assert response.read() == b"hello"
    with urlopen(url + "index.jsonl") as response:
        assert json.loads(response.read())["key"] == "a b.txt"

    started_s = time.monotonic()
    out, err = ended(process, ending)
    assert time.monotonic() - started_s < 10  # a second is promised; ten times that is no noise
    assert process.returncode == 0
    assert err == ""
    assert "answered 2 requests" in out
    port = urlsplit(url).port
    assert port is not None
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_manners_are_obeyed_and_told(start: Start, folder: Path) -> None:
    options = ["--latency", "120ms", "--jitter", "10ms", "--bandwidth", "50MB/s"]
    options += ["--error-rate", "100%", "--error-status", "500", "--seed", "7"]
    process = start("serve", str(folder), "--port", "0", *options)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "120 ms latency, up to 10 ms jitter, 50 MB/s for all, 100 % answered 500" in line
    started_s = time.monotonic()
    with pytest.raises(HTTPError) as raised:
        urlopen(line.split()[-1] + "a%20b.txt")
    raised.value.close()
    assert raised.value.code == 500
    assert time.monotonic() - started_s >= 0.12


def test_a_rate_limit_is_kept_and_told(start: Start, folder: Path) -> None:
    process = start("serve", str(folder), "--port", "0", "--rate-limit", "0.01,2", "--rate-limit-status", "429")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "at most 0.01 requests/s, then 429" in line
    url = line.split()[-1] + "a%20b.txt"
    for _ in range(2):
        with urlopen(url) as response:
            assert response.read() == b"hello"
    with pytest.raises(HTTPError) as raised:
        urlopen(url)
    raised.value.close()
    assert raised.value.code == 429
    assert int(raised.value.headers["Retry-After"]) >= 1


def test_only_this_machine_is_listened_to_unless_asked(start: Start, folder: Path) -> None:
    closed = start("serve", str(folder), "--port", "0")
    assert url_of(closed).startswith("http://127.0.0.1:")
    out, _ = ended(closed, signal.SIGINT)
    assert "stop: Ctrl-C" in out
    assert "whoever reaches this machine" not in out
    opened = start("serve", str(folder), "--port", "0", "--host", "0.0.0.0")
    url_of(opened)
    assert "whoever reaches this machine" in ended(opened, signal.SIGINT)[0]


def test_it_can_end_with_its_standard_input(folder: Path) -> None:
    command = [sys.executable, "-m", "aioloader", "serve", str(folder), "--port", "0", "--until-stdin-ends"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url_of(process)
        process.communicate("ignored", timeout=20)
    assert process.returncode == 0
