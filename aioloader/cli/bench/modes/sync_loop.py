"""One GET after another on one kept-alive connection, each sample decoded before the next is asked for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from aioloader.cli.bench.work import Work, collated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task


class SyncLoop:
    """What a first script does."""

    def quantum(self, task: Task) -> int:
        """One batch."""
        return task.batch_size

    def settings(self, task: Task) -> str:
        """Nothing to choose."""
        return "1 request at a time"

    def prepare(self, task: Task) -> None:
        """The decoder's imports."""
        Work(task)

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """One after another."""
        work = Work(task)
        try:
            yield ((collated([work.sample(index) for index in ids]), np.array(ids)) for ids in work.batches())
        finally:
            work.source.close()
