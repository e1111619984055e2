"""Worker processes and their memory end with the process that started them, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPT = Path(__file__).with_name("deaths_parent.py")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def until(condition: Callable[[], bool], *, what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """The worker processes of ``pid``."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(word.endswith("child.py") for word in child.cmdline()):
                found.append(child.pid)
    return found


def is_gone(pid: int) -> bool:
    """Zombies count as gone: whoever adopted them has to wait for them."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def memory_files(pid: int) -> set[str]:
    """The inodes of our shared memory that ``pid`` has open or mapped."""
    found = set()
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "memfd:aioloader" in line:
                found.add(line.split()[4])
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if "memfd:aioloader" in str(descriptor.readlink()):
                    found.add(str(descriptor.stat().st_ino))
    return found


@contextmanager
def parent(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The running script, in a process group of its own."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("way", ["", "hang", "hang with the GIL"])
def test_killing_the_parent_ends_its_workers_whatever_they_do(tmp_path: Path, way: str) -> None:
    shared_memory = {path.name for path in Path("/dev/shm").iterdir()}
    with parent("read", str(tmp_path), way) as process:
        assert hear(process) == "begun"
        until(lambda: bool(list(tmp_path.iterdir())), what="nobody decodes")
        until(lambda: len(workers_of(process.pid)) == 2, what="not two workers")
        workers = workers_of(process.pid)
        files = memory_files(process.pid)
        assert files
        process.send_signal(signal.SIGKILL)
        until(lambda: all(map(is_gone, workers)), what="workers outlive their parent", within_s=5)
        process.wait()
    holders = [pid for pid in psutil.pids() if files & memory_files(pid)]
    assert holders == []
    new = {path.name for path in Path("/dev/shm").iterdir()} - shared_memory
    assert not [name for name in new if "aioloader" in name or str(process.pid) in name]


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_killing_the_parent_ends_workers_that_are_just_starting(tmp_path: Path, after_s: float) -> None:
    with parent("read", str(tmp_path)) as process:
        until(lambda: bool(workers_of(process.pid)), what="no worker starts")
        time.sleep(after_s)  # from the first lines of the interpreter to the imports
        workers = workers_of(process.pid)
        process.send_signal(signal.SIGKILL)
        until(lambda: all(map(is_gone, workers)), what="workers outlive their parent", within_s=5)


@pytest.mark.parametrize("way", ["", "hang with the GIL"])
def test_a_fork_of_the_parent_does_not_keep_its_workers_alive(tmp_path: Path, way: str) -> None:
    with parent("fork", str(tmp_path), way) as process:
        fork = int(hear(process))
        try:
            until(lambda: bool(list(tmp_path.iterdir())), what="nobody decodes")
            workers = workers_of(process.pid)
            assert workers
            process.send_signal(signal.SIGKILL)
            until(lambda: all(map(is_gone, workers)), what="a fork keeps workers alive", within_s=5)
            assert not is_gone(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


@pytest.mark.parametrize("when", ["starting", "reading"])
def test_ctrl_c_is_heard_by_the_parent_alone_and_the_loader_goes_on(tmp_path: Path, when: str) -> None:
    with parent("interrupt", str(tmp_path)) as process:
        assert hear(process) == "begun"
        if when == "reading":
            until(lambda: bool(list(tmp_path.iterdir())), what="nobody decodes")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert hear(process) == "interrupted"
        workers = workers_of(process.pid)
        assert workers or when == "starting"
        stdout, stderr = process.communicate(timeout=30)
        assert (stdout, stderr, process.returncode) == ("whole\n", "", 0)
        assert all(map(is_gone, workers))


def test_ctrl_c_that_nobody_catches_prints_one_traceback_and_leaves_no_worker(tmp_path: Path) -> None:
    with parent("read", str(tmp_path)) as process:
        assert hear(process) == "begun"
        until(lambda: len(list(tmp_path.iterdir())) == 2, what="not two workers decode")
        workers = workers_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT
        assert stderr.count("Traceback") == 1
        assert stderr.rstrip().endswith("KeyboardInterrupt")
        assert all(map(is_gone, workers))


def test_workers_that_hear_ctrl_c_themselves_go_on(tmp_path: Path) -> None:
    with parent("interrupt", str(tmp_path)) as process:
        assert hear(process) == "begun"
        until(lambda: len(list(tmp_path.iterdir())) == 2, what="not two workers decode")
        before = workers_of(process.pid)
        for _ in range(3):
            for pid in before:
                os.kill(pid, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert hear(process) == "interrupted"
        assert workers_of(process.pid) == before
        stdout, stderr = process.communicate(timeout=30)
        assert (stdout, stderr) == ("whole\n", "")
