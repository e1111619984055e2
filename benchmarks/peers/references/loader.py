"""The lines a race is read against: what the machine does with nothing but the work itself."""

from __future__ import annotations

import ctypes
import multiprocessing
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np
from runner.counting import Count
from runner.decoders import decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.job import Job


def run(job: Job) -> dict[str, Any]:
    """The reference that ``options["what"]`` names, as a result of a race, with ``work_cpu_s`` beside it."""
    what = job.options["what"]
    if what == "model":
        from peers.references.model import alone

        return alone(job)
    if what == "bare":
        from peers.references.bare import epoch

        return epoch(job)
    if what == "decode":
        share_of: Callable[[Job, list[int], Any], Any] = decode_share
    else:
        from peers.references.fetch import fetch_share as share_of
    return by_processes(job, share_of)


def by_processes(job: Job, share_of: Callable[[Job, list[int], Any], Any]) -> dict[str, Any]:
    """``share_of`` in ``options["processes"]`` forks, each with every so many-th sample.

    A share waits at ``begin`` once it has what it needs, and returns (ids done, its bytes' checksum).
    """
    fork, processes = multiprocessing.get_context("fork"), job.options["processes"]
    begin, results = fork.Barrier(processes + 1), fork.SimpleQueue()

    def share(first: int) -> None:
        cpu_at_start = 0.0

        def at_the_line() -> None:
            nonlocal cpu_at_start
            begin.wait()
            cpu_at_start = process_time()

        ids, checksum = share_of(job, list(range(first, job.count, processes)), at_the_line)
        results.put((ids, checksum, process_time() - cpu_at_start))

    def checked_share(first: int) -> None:
        try:
            share(first)
        except BaseException:
            begin.abort()
            results.put(None)  # or the parent would wait
            raise

    children = [fork.Process(target=checked_share, args=(first,)) for first in range(processes)]
    for child in children:
        child.start()
    begin.wait()
    count, started = Count(job.count), perf_counter()
    shares = [results.get() for _ in children]
    seconds = perf_counter() - started
    if None in shares:
        raise RuntimeError("a process of this reference failed; its words are above")
    for child in children:
        child.join()
    ids = np.concatenate([np.array(ids, np.int64) for ids, _, _ in shares])
    count.mark(0)
    count.mark(len(ids))
    return count.result() | {
        "distinct": len(np.unique(ids)),
        "samples": len(ids),
        "checksum": sum(checksum for _, checksum, _ in shares),
        "arrivals_s": [0.0, seconds],
        "work_cpu_s": sum(cpu for _, _, cpu in shares),
    }


def keep_freed_memory() -> None:
    """No page goes back to the kernel: whether glibc trims its heap at each picture is chance, and 2.0 or 1.45 ms.

    With 2,048 bodies in memory Pillow had 334 page faults a picture, with 600 it had 18.
    """
    glibc = ctypes.CDLL(None)
    if hasattr(glibc, "mallopt"):
        m_trim_threshold, m_mmap_threshold = -1, -3
        glibc.mallopt(m_mmap_threshold, 64 << 20)
        glibc.mallopt(m_trim_threshold, 1 << 30)


def decode_share(job: Job, ids: list[int], at_the_line: Callable[[], None]) -> tuple[list[int], int]:
    """Decoding from memory; ``work_cpu_s`` holds nothing else."""
    from runner.counting import checksum_of

    keep_freed_memory()
    decode = decoder(job.decoder)
    bodies = [Path(job.address(index)).read_bytes() for index in ids]
    decode(bodies[0], job.size)
    at_the_line()
    checksum = 0
    for index, body in zip(ids, bodies, strict=True):
        checksum += checksum_of(decode(body, job.size)[None], np.array([index]))
    return ids, checksum
