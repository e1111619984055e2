"""A process and all below it: its CPU time, its memory, its end. Of other systems than Linux only what they tell."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import process_time

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def descendants(root: int) -> list[int]:
    """``root`` and all below it, now."""
    found, at = [root], 0
    while at < len(found):
        with suppress(OSError):
            for task in Path(f"/proc/{found[at]}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
        at += 1
    return found


def cpu_s() -> float:
    """User and system seconds of this process, of its ended children and of its living descendants."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = process_time() + ended.ru_utime + ended.ru_stime
    for pid in descendants(os.getpid())[1:]:
        with suppress(OSError):  # it ended meanwhile
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(map(int, fields[11:15])) / _TICKS_PER_S
    return seconds


def memory_bytes(root: int) -> int:
    """What ``root`` and all below it hold in memory; pages that several share count once. 0 where nobody tells."""
    total = 0
    for pid in descendants(root):
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total


def own_peak_bytes() -> int:
    """The most this process alone ever held, as the system counts."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def kill(leader: int) -> None:
    """``leader``, its group and all below it, now; it may be this process. It must not have been waited for yet."""
    for pid in reversed(descendants(leader)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses groups of which only a dead leader is left
        os.killpg(leader, signal.SIGKILL)
