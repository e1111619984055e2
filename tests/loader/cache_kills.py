"""Caches filled by processes that are killed: 10 times in CI, 50 and more in `scripts/long/kill_cache_writers`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

import aioloader as al
from aioloader.storage.cache import content
from aioloader.storage.cache.folder import CacheFolder

if TYPE_CHECKING:
    from aioloader.storage.cache.room import Count

N = 300
FILLER = Path(__file__).with_name("cache_filler.py")


@dataclass(slots=True)
class Seen:
    """What the kills met: ``in_writing`` left a file half written, ``entries`` were whole after all of them."""

    kills: int = 0
    in_writing: int = 0
    entries: int = 0
    checked: int = 0


def fill_under_fire(url: str, cache: Path, kills: int, seed: int) -> Seen:
    """Kill a filler ``kills`` times; after each, every entry is sound and the record says what is there.

    Before each one a part of the entries is removed, so that there is something to write.
    """
    draw = random.Random(seed)
    seen = Seen()
    for number in range(kills):
        how = "processes" if draw.random() < 0.3 else "threads"
        _kill_one(url, cache, seed * 1000 + number, how, draw)
        seen.kills += 1
        seen.in_writing += any(not file.name.endswith(".lock") for file in (cache / "tmp").iterdir())
        with closing(CacheFolder(str(cache), 100_000_000)) as folder:  # sweeps
            assert [file.suffix for file in (cache / "tmp").iterdir()] == [".lock"]  # its own
            paths = list(content.entry_paths(folder.descriptor))
            for path in paths:
                folder.check(path)
            seen.checked += len(paths)
            seen.entries = len(paths)
            _check_record(folder)
            for path in paths:
                if draw.random() < 0.7:
                    assert folder.remove(path)
    return seen


def _kill_one(url: str, cache: Path, seed: int, how: str, draw: random.Random) -> None:
    command = [sys.executable, str(FILLER), url, str(N), str(cache), str(seed), how]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            time.sleep(draw.random() ** 2 * 0.5)
            workers = psutil.Process(process.pid).children()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        psutil.wait_procs(workers, 10)  # they end by themselves when it has


def _check_record(folder: CacheFolder) -> None:
    """It never says less than what is there, and after counting again exactly that."""
    assert folder.room is not None
    before = folder.room.read()
    there = _there(folder)
    assert not before.is_counted or (before.taken_bytes >= there[0] and before.pending == 0)
    with folder.room.changing() as count:
        count.is_counted = False
    folder.count(folder.room)
    after: Count = folder.room.read()
    assert (after.taken_bytes, after.entries) == there


def _there(folder: CacheFolder) -> tuple[int, int]:
    sizes = [content.is_regular(folder.descriptor, path) for path in content.entry_paths(folder.descriptor)]
    return sum(content.blocks(size.st_size) for size in sizes if size is not None), len(sizes)


def read_after_fire(url: str, cache: Path, objects: dict[str, bytes], *, use_multiprocessing: bool) -> Any:
    """Two epochs through what the killed have left: every sample once, with its own bytes."""
    data = al.from_samples([(key, 0) for key in objects], root=url)
    expected = [[index, sum(body)] for index, body in enumerate(objects.values())]
    with al.Loader(
        data,
        decode=number_and_sum,
        batch_size=8,
        shuffle=True,
        seed=3,
        drop_last=False,
        workers=2,
        use_multiprocessing=use_multiprocessing,
        cache=cache,
        cache_size="100MB",
    ) as loader:
        for _ in range(2):
            rows = np.concatenate([batch[0].copy() for batch in loader])
            assert sorted(rows.tolist()) == expected
        assert loader.stats().cache.bad == 0
        return loader.stats().cache


def number_and_sum(data: bytes, sample: al.SampleRef) -> np.ndarray[Any, Any]:
    """int64 ``(2,)``: which sample it is, and the sum of its bytes."""
    return np.array([sample.index, sum(data)])
