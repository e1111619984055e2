"""Run by `test_memory_bound`: a loader with large bodies and a consumer that lets it run ahead; prints what it took.

Arguments: a folder of .bin files of one size, "threads", "processes" or "switching" (between both), max_memory.
Memory is the proportional set size of this process and its children, beyond what they take once they are up and have
read a few small samples.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

import aioloader as al

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.timeline import Moment, Settings


class Content:
    """In the place of the tuner: whatever is, may stay."""

    changes: Sequence[KnobChange] = ()

    def observe(self, moment: Moment, *, epoch: int, samples_left: int) -> Settings:
        return moment.settings

    def refused(self, reason: str) -> None:
        pass

    def went_back(self, threads: int, reason: str) -> None:
        pass


def taken() -> int:
    """Bytes of the whole process tree; memory that several map counts once."""
    me = psutil.Process()
    return sum(process.memory_full_info().pss for process in [me, *me.children(recursive=True)])


def run(folder: Path, max_memory: str, *, use_multiprocessing: bool, switching: bool) -> dict[str, int]:
    data = al.image_folder(folder, extensions=".bin", label_mode=None)
    size = next(iter(folder.rglob("*.bin"))).stat().st_size
    small = al.image_folder(folder, extensions=".small", label_mode=None)
    options = {"use_multiprocessing": use_multiprocessing, "workers": 2, "concurrency": 4 if switching else 16}
    with al.Loader(small, decode=al.RawDecoder(shape=(100,)), batch_size=4, **options) as warm:  # type: ignore[arg-type]
        list(warm)
        gc.collect()
        before = taken()
        peak, switches = 0, 0
        with al.Loader(
            data,
            decode=al.RawDecoder(shape=(size,)),
            batch_size=4,
            max_memory=max_memory,
            **(options | {"use_multiprocessing": False} if switching else options),  # type: ignore[arg-type]
        ) as loader:
            session = loader._session
            if switching:
                session.job = replace(session.job, controller=Content())
            kept: list[al.Batch] = []
            for batch in loader:
                kept = [*kept[-2:], batch]
                fetched = -1
                while fetched != loader.stats().bytes_fetched:  # it runs ahead as far as it may
                    fetched = loader.stats().bytes_fetched
                    time.sleep(0.02)
                    peak = max(peak, taken() - before)
                if switching and session.holdings.lease is not None and not session.hand_over.is_under_way:
                    switches += 1
                    in_processes = loader._job.options.use_multiprocessing
                    session.holdings.lease.post(session.switch, not in_processes, 2)
            return {"switches": switches, "peak": peak, "bound": loader.memory_bound(), "whole": len(data) * size}


if __name__ == "__main__":
    mode = sys.argv[2]
    figures = run(Path(sys.argv[1]), sys.argv[3], use_multiprocessing=mode != "threads", switching=mode == "switching")
    print(json.dumps(figures))
