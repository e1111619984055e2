"""The fixtures of ``conftest.py`` find what they are there to find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

# Each test leaves one thing behind, or is allowed to, or blocks a loop. Kept alive for the run by LEFT.
UNTIDY = """
import asyncio, logging, signal, socket, subprocess, sys, threading, time
import pytest

LEFT = []

def leave_thread():
    release = threading.Event()
    threading.Thread(target=release.wait, name="aioloader-left", daemon=True).start()

def test_thread():
    leave_thread()

def test_child():
    LEFT.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

def test_socket():
    LEFT.append(socket.socket())

def test_file(tmp_path):
    LEFT.append((tmp_path / "file").open("wb"))

def test_log():
    logging.getLogger("asyncio").error("Task was destroyed but it is pending!")

def test_signal():
    signal.signal(signal.SIGINT, lambda *_: None)

async def test_task():
    LEFT.append(asyncio.create_task(asyncio.sleep(60)))

async def test_blocking_the_callers_loop():
    from aioloader.runtime.loop import LoopLease
    lease = await asyncio.to_thread(LoopLease)
    with pytest.raises(Exception, match="Blocking call"):
        lease.run(asyncio.sleep(0.05))
    lease.release_soon()

def test_blocking_the_background_loop():
    from aioloader.runtime.loop import LoopLease
    async def block():
        time.sleep(0)
    lease = LoopLease()
    with pytest.raises(Exception, match="Blocking call"):
        lease.run(block())
    lease.release()

@pytest.mark.blocks(reason="shows that it may")
async def test_allowed_blocking():
    from aioloader.runtime.loop import run_on_loop
    run_on_loop(asyncio.sleep(0))

@pytest.mark.leaves("threads", reason="shows that it may")
def test_allowed_thread():
    leave_thread()

@pytest.mark.leaves("log", reason="shows that it may")
def test_allowed_log():
    logging.getLogger("asyncio").error("on purpose")

async def test_tidy(tmp_path):
    await asyncio.create_task(asyncio.sleep(0))
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
    thread = threading.Thread(target=lambda: None, name="aioloader-brief")
    thread.start()
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


def test_what_a_test_leaves_behind_fails_that_test_and_no_other(tmp_path: Path) -> None:
    impatient = CONFTEST.read_text().replace("GRACE_S = 3.0", "GRACE_S = 0.2")
    assert "GRACE_S = 0.2" in impatient
    (tmp_path / "conftest.py").write_text(impatient)
    (tmp_path / "test_untidy.py").write_text(UNTIDY)
    options = ["-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-W", "ignore", "-rA", "-q"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        check=False,
    )
    failed = {line for line in run.stdout.splitlines() if line.startswith("ERROR test_untidy.py::")}
    errors = {line.split()[1].rpartition("::")[2] for line in failed}
    found = {"test_thread", "test_child", "test_socket", "test_file", "test_log", "test_signal", "test_task"}
    if sys.platform != "linux":
        found -= {"test_socket", "test_file"}
    assert errors == found, run.stdout
    assert "13 passed" in run.stdout
    for kind in ("threads: aioloader-left", "asyncio's log: Task was destroyed", "left tasks pending"):
        assert kind in run.stdout


@pytest.mark.parametrize("kind", ["threads", "children", "descriptors", "signals", "log"])
def test_the_conftest_documents_every_kind(kind: str) -> None:
    assert f'"{kind}"' in CONFTEST.read_text().partition('"""\n')[0]
