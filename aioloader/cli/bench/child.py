"""``python -m aioloader.cli.bench.child``: runs the tasks of one mode, one after another, in an interpreter of its own.

Tasks come on standard input, each a length and a pickle; answers go to standard output, a line of JSON each. What
libraries print goes to standard error. When the input ends, and at once where that is in the middle of a run, the
child and all it started end.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import struct
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aioloader.cli.bench import tree
from aioloader.cli.bench.modes.catalogue import CATALOGUE
from aioloader.errors import AioloaderError

if TYPE_CHECKING:
    from io import FileIO

    from aioloader.cli.bench.task import Task

LENGTH = struct.Struct("!Q")
CHECK = "check"
"""The mode of a task that only decodes the first sample."""


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    # Not sys.stdin: its lock, held by this thread, would keep forked children from starting.
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    threading.Thread(target=_read, args=(source, tasks, idle), daemon=True).start()
    while (task := tasks.get()) is not None:
        answer = _answer(task)
        idle.set()
        print(json.dumps(answer), file=answers, flush=True)


def _read(source: FileIO, tasks: queue.SimpleQueue[Task | None], idle: threading.Event) -> None:
    while len(head := _exactly(source, LENGTH.size)) == LENGTH.size:
        body = _exactly(source, LENGTH.unpack(head)[0])
        task = pickle.loads(body)  # our parent's, and nobody else's
        idle.clear()
        tasks.put(task)
    if not idle.is_set():  # the parent is gone, and nobody waits for the answer
        tree.kill(os.getpid())
    tasks.put(None)


def _exactly(source: FileIO, count: int) -> bytes:
    """``count`` bytes, or fewer where the input ends."""
    found = bytearray()
    while len(found) < count and (more := source.read(count - len(found))):
        found += more
    return bytes(found)


def _answer(task: Task) -> dict[str, Any]:
    try:
        return _checked(task) if task.mode == CHECK else _run(task)
    except Exception as exc:
        return {"error": sentence(exc)}


def sentence(exc: BaseException) -> str:
    """What happened, on one line."""
    words = " ".join(str(exc).split())
    return words if isinstance(exc, AioloaderError) and words else f"{type(exc).__name__}: {words}"


def _checked(task: Task) -> dict[str, Any]:
    from aioloader.cli.bench.work import Work

    work = Work(task)
    body = work.source.get(task.data[0])
    fields = work.decoded(body, 0)
    return {"sample": ", ".join(f"{field.dtype}{list(field.shape)}" for field in fields), "bytes": len(body)}


def _run(task: Task) -> dict[str, Any]:
    from aioloader.cli.bench.counting import Count
    from aioloader.cli.bench.watching import Watch
    from aioloader.cli.decode_option import decoding

    mode = CATALOGUE[task.mode].load()
    mode.prepare(task)
    count = Count(len(task.data), task.seconds, mode.quantum(task))
    watch, seen = Watch(), {}
    with mode.batches(task) as batches:
        loader = getattr(mode, "loader", None) if task.is_watched else None
        for arrays, ids in batches:
            is_over = count.add(arrays, ids)
            if loader is not None:
                watch.look(loader)
            if is_over:
                break
        if loader is not None:
            seen = watch.result(loader)
    is_comparable = not decoding(task.decode, task.largest_bytes).bound.needs_rng
    more = {"watched": seen, "settings": mode.settings(task), "is_comparable": is_comparable}
    return asdict(count.figures()) | more | {"peak_bytes": tree.own_peak_bytes()}


if __name__ == "__main__":
    main()
