"""CPU time: of this process's threads, and what the cores had to spare. 0 where nobody tells."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_IDLE, _WAITING_FOR_DISK = 4, 5  # of the words of a line "cpu0 ..." in /proc/stat


class ThreadClock:
    """The CPU seconds of the thread that makes it; any thread may read, also when that one has ended."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._clock: int | None = None
        if hasattr(time, "pthread_getcpuclockid"):  # not on macOS
            self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def seconds(self) -> float:
        """So far; of a thread that has ended, what was read last."""
        if self._clock is not None:
            try:
                self._last_s = time.clock_gettime(self._clock)
            except OSError:
                self._clock = None
        return self._last_s


def idle_s(proc: Path = _PROC) -> float:
    """Seconds for which the cores this process may use had nothing to do, since the machine was started: a sum."""
    try:
        text = (proc / "stat").read_text(encoding="ascii", errors="replace")
        usable = os.sched_getaffinity(0)
    except (OSError, AttributeError):
        return 0.0
    ticks = 0
    for line in text.splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in usable:
            ticks += int(numbers[_IDLE - 1]) + int(numbers[_WAITING_FOR_DISK - 1])
    return ticks / _TICKS_PER_S
