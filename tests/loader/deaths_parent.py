"""A script that reads in worker processes until it is killed or interrupted: ``deaths_parent.py WHAT FOLDER [WAY]``.

What it says on stdout is what `test_processes_parent` waits for.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.loader.deaths_decoders import Marked
from tests.loader.deaths_kills import N_SAMPLES, make_loader, samples_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import aioloader as al


def read(loader: al.Loader) -> None:
    """For ever."""
    iter(loader)  # begins at once
    print("begun", flush=True)
    for _ in loader.epochs(1_000_000):
        pass


def read_beside_a_fork(loader: al.Loader, *, hangs: bool) -> None:
    """The fork outlives this process. Where the decoder ``hangs`` no batch will ever come."""
    batches = iter(loader)
    if not hangs:
        next(batches)
    pid = os.fork()
    if pid == 0:
        time.sleep(3600)
    print(pid, flush=True)
    time.sleep(3600)


def read_interrupted(loader: al.Loader) -> None:
    """Until Ctrl-C; then a whole epoch, then the end."""
    try:
        read(loader)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    ids = [int(index) for batch in loader.open_epoch(0) for index in batch.sample_ids]
    loader.close()
    print("whole" if sorted(ids) == list(range(N_SAMPLES)) else ids, flush=True)


def main(what: str, folder: str, way: str = "") -> None:
    """See the module."""
    loader = make_loader(samples_in_memory(), decode=Marked(folder, way), workers=2)
    doings: dict[str, Callable[[al.Loader], None]] = {
        "read": read,
        "fork": partial(read_beside_a_fork, hangs="hang" in way),
        "interrupt": read_interrupted,
    }
    doings[what](loader)


if __name__ == "__main__":
    main(*sys.argv[1:])
