"""What this process may use: cores and memory, by affinity and control group."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_FALLBACK_BYTES = 4_000_000_000


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores this process may run on, at least 1: the affinity mask, cut by a cgroup quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    quota = _quota_cores(cgroup)
    return max(1, min(cores, quota) if quota else cores)


def granted_cores(cgroup: Path = _CGROUP) -> float:
    """Cores that this process may use on average: as `usable_cores`, a part of one included."""
    quota = _quota(cgroup)
    return float(usable_cores(cgroup)) if quota is None else min(float(usable_cores(cgroup)), quota)


def _quota_cores(cgroup: Path) -> int | None:
    """Whole cores that the control group grants, rounded up; None without a limit."""
    quota = _quota(cgroup)
    return None if quota is None else math.ceil(quota)


def _quota(cgroup: Path) -> float | None:
    for quota_file, period_file in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        words = _read(cgroup / quota_file).split()
        if period_file is not None:
            words += _read(cgroup / period_file).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            return int(words[0]) / int(words[1])
    return None


def available_bytes(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Memory that can still be taken: what the system has available, cut by the control group's limit.

    File pages that the kernel would drop first count as available: a group that read a large data set has used
    its whole limit for them.
    """
    available = _FALLBACK_BYTES
    for line in _read(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for limit_file, used_file, stat_file, droppable_name in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        limit, used = _read(cgroup / limit_file).strip(), _read(cgroup / used_file).strip()
        if limit.isdigit() and used.isdigit():
            stat = dict(line.split() for line in _read(cgroup / stat_file).splitlines() if len(line.split()) == 2)
            taken = max(int(used) - int(stat.get(droppable_name, "0")), 0)
            available = min(available, max(int(limit) - taken, 0))
    return available


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
