"""asyncio as it is first written: a batch's requests gathered, then decoded on the loop, then the next batch."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from aioloader.cli.bench.work import Work, collated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task


class AsyncioInline:
    """aiohttp (obstore for buckets) and ``asyncio.gather``."""

    def quantum(self, task: Task) -> int:
        """None: a batch's samples come together."""
        return 0

    def settings(self, task: Task) -> str:
        """A batch at a time."""
        return f"{task.batch_size} requests, then decode"

    def prepare(self, task: Task) -> None:
        """The decoder's and the client's imports."""
        import aiohttp  # noqa: F401 - before anything is timed

        Work(task)

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """Each batch is a run of the loop."""
        work = Work(task)
        with asyncio.Runner() as runner:
            try:
                yield ((runner.run(_batch(work, ids)), np.array(ids)) for ids in work.batches())
            finally:
                runner.run(work.source.aclose())


async def _batch(work: Work, ids: range) -> list[np.ndarray]:
    bodies = await asyncio.gather(*(work.source.get_async(work.task.data[index]) for index in ids))
    return collated([work.decoded(body, index) for body, index in zip(bodies, ids, strict=True)])
