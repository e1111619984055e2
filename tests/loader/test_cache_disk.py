"""A cache whose disk is full, for real: it is said once, and every sample comes from the store."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aioloader.serve.thread import serve_in_thread
from tests.storage.cache_rig import bodies

N = 150
PROGRAM = Path(__file__).with_name("cache_disk_run.py")


@functools.cache
def can_mount() -> bool:
    """Whether a file system of our own can be mounted, for us alone."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    command = [unshare, "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(tmp_path: Path, kind: str) -> dict[str, Any]:
    """What the program said, with its epochs checked."""
    objects = bodies(N, 20_000)
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    for key, body in objects.items():
        (bucket / key).write_bytes(body)
    with serve_in_thread(bucket) as server:
        command = [sys.executable, str(PROGRAM), server.url, str(N), str(tmp_path / "disk"), kind]
        if kind != "file size":
            command = ["unshare", "-m", *command]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=60, check=True)
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["epochs"] == [[[index, sum(body)] for index, body in enumerate(objects.values())]] * 2
    assert len(facts["warnings"]) == 1, facts["warnings"]
    assert facts["left"] == [], facts["pid"]
    assert facts["bad"] == 0
    return facts


@pytest.mark.fault(row=27, stores=("http",))
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("share", "less than 5 % of its file system is free"),
        ("bytes", "No space left on device"),
        ("inodes", "No space left on device"),
    ],
)
def test_a_full_disk_is_said_once_and_no_sample_is_lost(tmp_path: Path, kind: str, words: str) -> None:
    if not can_mount():
        pytest.skip("mounting a small file system needs root and unshare")
    facts = run(tmp_path, kind)
    assert words in facts["warnings"][0]
    assert facts["written"] > 5
    assert facts["hits"] > 0
    if kind == "share":
        assert facts["stopped"] == -2
        assert "full: 5% of the disk stays free" in facts["report"]
    else:
        assert facts["stopped"] == errno.ENOSPC
        assert "nothing more is written: No space left on device" in facts["report"]


@pytest.mark.fault(row=27, stores=("http",))
def test_a_file_that_may_not_grow_is_said_once_and_no_sample_is_lost(tmp_path: Path) -> None:
    facts = run(tmp_path, "file size")
    assert "File too large" in facts["warnings"][0]
    assert (facts["written"], facts["hits"], facts["stopped"]) == (0, 0, errno.EFBIG)
