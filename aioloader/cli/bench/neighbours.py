"""How much of the machine other programs took meanwhile: what a reader has to know of figures."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic

from aioloader.cli.bench import tree
from aioloader.runtime.machine import usable_cores

TOLD_FROM = 0.2
"""The share from which it is worth a line."""


class Neighbours:
    """From now on. Knows nothing in a control group of some cores of a larger machine, and on other systems."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._busy_s = _busy_s()
        self._own_s = tree.cpu_s()

    def share(self) -> float:
        """Of the cores' time; 0 where it is not known."""
        seconds = (monotonic() - self._began) * (os.cpu_count() or 1)
        if self._busy_s is None or (busy_s := _busy_s()) is None or os.cpu_count() != usable_cores() or seconds <= 0:
            return 0.0
        others_s = busy_s - self._busy_s - (tree.cpu_s() - self._own_s)
        return min(max(others_s / seconds, 0.0), 1.0)


def _busy_s() -> float | None:
    """Of all cores since the start of the system, without waiting for disks."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    ticks = list(map(int, words[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
