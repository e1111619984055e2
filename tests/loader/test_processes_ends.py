"""Worker processes are shared by all loaders, live over epochs, and end with the last loader or the interpreter."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

import aioloader as al
from tests.loader.conftest import worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable

N = 64


def number(data: bytes) -> np.ndarray:
    return np.array([int(data), os.getpid()])


def numbered(n: int = N, base: int = 0) -> al.Dataset:
    store = al.MemoryStore({f"{i:04}": str(base + i).encode() for i in range(n)})
    return al.from_samples([f"{i:04}" for i in range(n)], store=store)


def loader_of(data: al.Dataset, **options: Any) -> al.Loader:
    defaults: dict[str, Any] = {"decode": number, "batch_size": 8, "use_multiprocessing": True, "workers": 2}
    return al.Loader(data, **defaults | options)


def until(condition: Callable[[], bool], *, what: str, within_s: float = 10.0) -> None:
    """Wait for ``condition``; collecting is part of what may make it true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        gc.collect()
        time.sleep(0.01)


def test_train_and_validation_share_one_pool_that_lives_over_epochs_and_ends_with_the_last() -> None:
    train, held_out = loader_of(numbered()), loader_of(numbered(24, base=1000), workers=3)
    wrote: set[int] = set()
    pids: set[int] = set()
    for _ in range(3):
        for loader, base, n in ((train, 0, N), (held_out, 1000, 24)):
            rows = np.concatenate([rows for (rows,) in loader])
            assert rows[:, 0].tolist() == list(range(base, base + n))
            wrote |= set(rows[:, 1].tolist())
        until(lambda: len(worker_pids()) == 3, what="not three processes for two loaders, of which one wants three")
        pids = pids or worker_pids()
        assert worker_pids() == pids, "processes were replaced between epochs"
    assert wrote <= pids
    assert os.getpid() not in wrote
    train.close()
    assert worker_pids() == pids
    assert [int(row[0]) for (rows,) in held_out for row in rows] == list(range(1000, 1024))
    held_out.close()
    assert worker_pids() == set()
    assert [int(row[0]) for (rows,) in held_out for row in rows] == list(range(1000, 1024)), "it opens anew"
    assert worker_pids().isdisjoint(pids)
    held_out.close()
    assert worker_pids() == set()


def test_a_loader_that_is_collected_without_close_ends_its_processes() -> None:
    loader = loader_of(numbered())
    batch = next(iter(loader))
    assert worker_pids()
    del loader
    until(lambda: not worker_pids(), what="processes of a collected loader run on")
    assert batch[0][:, 0].tolist() == list(range(8))


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_the_async_loader_runs_in_processes() -> None:
    loader = al.AsyncLoader(numbered(), decode=number, batch_size=8, use_multiprocessing=True, workers=2)
    async with loader as batches:
        for _ in range(2):
            rows = [row async for (part,) in batches for row in part.tolist()]
            assert [value for value, _ in rows] == list(range(N))
            assert os.getpid() not in {pid for _, pid in rows}
    assert await asyncio.to_thread(worker_pids) == set()


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie, which an orphan may stay for a while."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


SCRIPT = """
    import os, sys
    import numpy as np, psutil
    import aioloader as al

    store = al.MemoryStore({f"{i:04}": str(i).encode() for i in range(64)})
    data = al.from_samples([f"{i:04}" for i in range(64)], store=store)
    decode = lambda body: np.array([int(body)])
    loader = al.Loader(data, decode=decode, batch_size=8, use_multiprocessing=True, workers=2)
    batches = iter(loader)
    next(batches)
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    ENDING
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1), ("os._exit(4)", 4), ("list(batches)", 0)],
)
def test_an_interpreter_that_exits_without_close_leaves_no_process(ending: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT).replace("ENDING", ending)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if code in (0, 3, 4):
        assert done.stderr == ""
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until(lambda: not any(map(runs, pids)), what="processes outlive the interpreter")
