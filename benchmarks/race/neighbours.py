"""How much of the machine others took while a run went on: the first reason for a figure that does not repeat."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_NOT_COUNTED = (3, 4, 5, 6)
"""Columns of /proc/stat's first line: idle, waiting for a disk, and interrupts, which are charged to no process: over
loopback they are the run's own requests. The rest is work, or stolen by the host."""
_GUEST = 8
"""From here on the columns are parts of earlier ones."""


def busy_s() -> float:
    """CPU seconds that all cores together have spent on anything since the machine started."""
    columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1 : _GUEST + 1]
    return sum(int(value) for place, value in enumerate(columns) if place not in _NOT_COUNTED) / os.sysconf(
        "SC_CLK_TCK"
    )


def own_s() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


QUIET_SHARE = 0.04
_LOOK_S = 0.4


def wait_for_quiet(deadline_s: float) -> None:
    """Return once others take less than `QUIET_SHARE` of the cores, or at ``deadline_s`` (monotonic)."""
    while (began_s := time.monotonic()) < deadline_s:
        neighbours = Neighbours(began_s)
        time.sleep(_LOOK_S)
        if neighbours.share(time.monotonic(), 0.0) <= QUIET_SHARE:
            return


class Neighbours:
    """From here to `share`."""

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._busy_s = busy_s() - own_s()

    def share(self, now_s: float, ours_s: float) -> float:
        """The part (0 to 1) of the cores' time that went to neither this process nor the ``ours_s`` of the run."""
        seconds = (now_s - self._began_s) * (os.cpu_count() or 1)
        return max(busy_s() - own_s() - self._busy_s - ours_s, 0.0) / seconds
