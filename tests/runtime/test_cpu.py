from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from aioloader.runtime.cpu import ThreadClock, idle_s

if TYPE_CHECKING:
    from pathlib import Path

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@linux
def test_a_threads_cpu_is_read_from_another_one_and_after_its_end() -> None:
    clocks: list[ThreadClock] = []
    made, go_on = threading.Event(), threading.Event()

    def work() -> None:
        clocks.append(ThreadClock())
        made.set()
        spin(0.05)
        go_on.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    made.wait(10)
    end = time.monotonic() + 10
    while clocks[0].seconds() < 0.05 and time.monotonic() < end:
        time.sleep(0.001)
    used_s = clocks[0].seconds()
    go_on.set()
    thread.join()
    assert 0.05 <= used_s < 1.0
    assert clocks[0].seconds() >= used_s


def test_a_waiting_thread_uses_no_cpu() -> None:
    clock = ThreadClock()
    before_s = clock.seconds()
    time.sleep(0.2)
    assert clock.seconds() - before_s < 0.1


@linux
def test_only_usable_cores_count_as_idle(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    usable = sorted(os.sched_getaffinity(0))
    lines = [f"cpu 9 9 9 {900 * ticks} {9 * ticks} 0"]
    lines += [f"cpu{core} 1 1 1 {10 * ticks} {ticks} 0 0" for core in usable]
    lines += [f"cpu{max(usable) + 1} 1 1 1 {500 * ticks} 0 0 0", "intr 12 3"]
    (tmp_path / "stat").write_text("\n".join(lines) + "\n")
    assert idle_s(tmp_path) == 11.0 * len(usable)


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert idle_s(tmp_path) == 0.0
