"""Cores and memory as control groups grant them, read from written files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from aioloader.runtime import machine
from aioloader.runtime.machine import available_bytes, usable_cores

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Group:
    id: str
    expected: int
    files: dict[str, str] = field(default_factory=dict)


CORES = [
    Group("no group", 8),
    Group("v2, two cores", 2, {"cpu.max": "200000 100000\n"}),
    Group("v2, a core and a half is two", 2, {"cpu.max": "150000 100000\n"}),
    Group("v2, a tenth is one", 1, {"cpu.max": "10000 100000\n"}),
    Group("v2, no limit", 8, {"cpu.max": "max 100000\n"}),
    Group("v2, more than there are", 8, {"cpu.max": "3200000 100000\n"}),
    Group("v2, not what it was", 8, {"cpu.max": "soon\n"}),
    Group("v2, no period", 8, {"cpu.max": "100000 0\n"}),
    Group("v1, three cores", 3, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
    Group("v1, no limit", 8, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
    Group("v1, no period", 8, {"cpu/cpu.cfs_quota_us": "300000\n"}),
]
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
MEMORY = [
    Group("no group", 8_192_000_000),
    Group("v2", 600, {"memory.max": "1000\n", "memory.current": "400\n"}),
    Group("v2, no limit", 8_192_000_000, {"memory.max": "max\n", "memory.current": "400\n"}),
    Group(
        "v2, full of pages of files",
        850,
        {"memory.max": "1000\n", "memory.current": "1000\n", "memory.stat": "anon 100\ninactive_file 850\nx 1 2\n"},
    ),
    Group("v2, used up", 0, {"memory.max": "1000\n", "memory.current": "1200\n", "memory.stat": "inactive_file 0\n"}),
    Group("v1", 700, {"memory/memory.limit_in_bytes": "1000\n", "memory/memory.usage_in_bytes": "300\n"}),
    Group(
        "v1, no limit",
        8_192_000_000,
        {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "300\n"},
    ),
    Group(
        "v1, full of pages of files",
        900,
        {
            "memory/memory.limit_in_bytes": "1000\n",
            "memory/memory.usage_in_bytes": "1000\n",
            "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 900\n",
        },
    ),
]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="ascii")
    return folder


@pytest.mark.parametrize("case", CORES, ids=lambda case: case.id)
def test_cores_are_cut_by_the_groups_quota(case: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores(write(tmp_path, case.files)) == case.expected


def test_without_affinity_the_cores_of_the_machine_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize("case", MEMORY, ids=lambda case: case.id)
def test_memory_is_cut_by_what_the_group_has_left(case: Group, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO, encoding="ascii")
    assert available_bytes(write(tmp_path, case.files), meminfo) == case.expected


def test_without_meminfo_a_modest_figure_is_assumed(tmp_path: Path) -> None:
    assert available_bytes(tmp_path, tmp_path / "none") == machine._FALLBACK_BYTES


def test_this_machine_has_a_core_and_memory() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert available_bytes() >= 0


def test_a_part_of_a_core_is_granted_as_such(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("130000 100000\n")
    most = machine.usable_cores(tmp_path)
    assert machine.granted_cores(tmp_path) == min(1.3, float(most))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.granted_cores(tmp_path) == float(machine.usable_cores(tmp_path))
