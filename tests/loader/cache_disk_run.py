"""A run whose cache meets a disk that is full: ``python cache_disk_run.py URL N DIR KIND``; figures as JSON.

``KIND`` is ``share``, ``bytes`` or ``inodes``: then ``DIR`` becomes a small file system of its own, which needs a
mount namespace (``unshare -m``); or ``file size``: no file may become larger than 4 kB.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import aioloader as al
from aioloader.storage.cache import room as cache_room

# Two threads write up to 32 entries of 24 KiB a hop, all or none of them: there is room for that, and not for all 150.
OPTIONS = {"share": "size=16m", "bytes": "size=2m", "inodes": "size=4m,nr_inodes=160"}
BALLAST_BYTES = 13 << 20
"""Something else on the disk of which a share stays free: so large that this share is more than a hop."""


class Warnings(logging.Handler):
    """Keeps what is said to the user."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def run(url: str, count: int, directory: str, kind: str) -> None:
    """Two epochs."""
    if kind == "file size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    else:
        Path(directory).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", OPTIONS[kind], "none", directory], check=True)
    if kind == "share":
        Path(directory, "ballast").write_bytes(bytes(BALLAST_BYTES))
    if kind == "bytes":
        patch.object(cache_room, "_FREE_SHARE", -1.0).start()  # else it gives way before the disk is full
    warnings = Warnings()
    logging.getLogger("aioloader").addHandler(warnings)
    data = al.from_samples([(f"{index:04d}.bin", 0) for index in range(count)], root=url)
    epochs = []
    with al.Loader(
        data,
        decode=lambda body, sample: [sample.index, sum(body)],
        batch_size=8,
        drop_last=False,
        cache=f"{directory}/cache",
        cache_size="1GB",
    ) as loader:
        for _ in range(2):
            epochs.append(sorted(row for batch in loader for row in batch[0].tolist()))  # noqa: PERF401  # an epoch each, in turn
        counts = loader.stats().cache
        report = loader.report()
    left = [path.name for path in Path(directory, "cache", "tmp").iterdir()]
    facts = {
        "epochs": epochs,
        "written": counts.written,
        "hits": counts.hits,
        "bad": counts.bad,
        "stopped": counts.stopped,
        "warnings": warnings.messages,
        "report": report,
        "left": left,
        "pid": os.getpid(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
