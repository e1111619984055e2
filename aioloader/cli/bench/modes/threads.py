"""A pool of threads, each of which fetches a sample and decodes it; a few batches ahead, in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.cli.bench.work import IN_FLIGHT, Work, collated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task


class Threads:
    """``concurrent.futures`` as its documentation shows it, with a bound on what is ahead."""

    def quantum(self, task: Task) -> int:
        """None: a batch's samples come together."""
        return 0

    def settings(self, task: Task) -> str:
        """How many."""
        return f"{IN_FLIGHT} threads"

    def prepare(self, task: Task) -> None:
        """The decoder's imports."""
        Work(task)

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """From the pool; what waits in it at the end is not begun."""
        pool = ThreadPoolExecutor(IN_FLIGHT)
        try:
            yield _batches(pool, Work(task))
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(pool: ThreadPoolExecutor, work: Work) -> Iterator[BatchAndIds]:
    ahead = 1 + 2 * -(-IN_FLIGHT // work.task.batch_size)  # batches: twice what the threads can be at
    waiting: deque[tuple[range, list[Future[list[NDArray[Any]]]]]] = deque()
    for ids in work.batches():
        waiting.append((ids, [pool.submit(work.sample, index) for index in ids]))
        if len(waiting) == ahead:
            first, futures = waiting.popleft()
            yield collated([future.result() for future in futures]), np.array(first)
    for first, futures in waiting:
        yield collated([future.result() for future in futures]), np.array(first)
