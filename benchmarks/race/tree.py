"""A run's process tree, seen from outside: its memory while it lives, and that nothing of it is left after."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from aioloader.cli.bench.tree import descendants, memory_bytes

LEAST_INTERVAL_S = 0.25
SHARE_OF_A_CORE = 0.02
"""Reading smaps_rollup walks the page tables: with many processes it would slow the run that it watches."""


def adopt_orphans() -> None:
    """From now on orphans of our descendants become our children: `wait` then counts their CPU time too."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def children() -> set[int]:
    """Our own children, adopted ones too."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def kill(root: int) -> None:
    """``root`` and all below it, now."""
    for pid in descendants(root):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class PeakMemory:
    """The largest sum of proportional set sizes (shared pages count once) that was seen."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._next = 0.0
        self.peak_bytes = 0

    def look(self) -> None:
        """Measure, unless it is too early to look again."""
        now = time.monotonic()
        if now < self._next:
            return
        self.peak_bytes = max(self.peak_bytes, memory_bytes(self._root))
        after = time.monotonic()
        self._next = after + max(LEAST_INTERVAL_S, (after - now) / SHARE_OF_A_CORE)


def end(strangers: set[int], grace_s: float) -> tuple[float, int]:
    """Wait for ``strangers`` and what they leave; kill what outlives ``grace_s``.

    Returns the CPU seconds of all that was waited for, and how many had to be killed.
    """
    known = children() - strangers
    cpu_s, killed, deadline = 0.0, 0, time.monotonic() + grace_s
    while left := children() - known:
        for pid in left:
            with suppress(ChildProcessError):
                ended, _, usage = os.wait4(pid, os.WNOHANG)
                if ended:
                    cpu_s += usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            for pid in [below for child in children() - known for below in descendants(child)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        time.sleep(0.01)
    return cpu_s, killed
