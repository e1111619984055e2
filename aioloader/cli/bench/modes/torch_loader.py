"""torch's DataLoader: worker processes that load one sample after another, as its documentation shows it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.cli.bench.work import Work, collated
from aioloader.runtime.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task

PROCESSES_PER_CORE = 4
PREFETCH_FACTOR = 2


class _Samples:
    """Map-style; connections are made in the worker that uses them."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __len__(self) -> int:
        return len(self._work.task.data)

    def __getitem__(self, index: int) -> tuple[list[Any], int]:
        return self._work.sample(index), index


def _collate(samples: list[tuple[list[Any], int]]) -> tuple[list[Any], Any]:
    import torch

    arrays = collated([fields for fields, _ in samples])
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays], torch.tensor([i for _, i in samples])


class TorchLoader:
    """A worker fetches or decodes, never both at a time: hence more of them than cores."""

    def __init__(self) -> None:
        self._workers = PROCESSES_PER_CORE * usable_cores()

    def quantum(self, task: Task) -> int:
        """A batch of each worker."""
        return self._workers * task.batch_size

    def settings(self, task: Task) -> str:
        """torch's names."""
        return f"num_workers={self._workers}, prefetch_factor={PREFETCH_FACTOR}"

    def prepare(self, task: Task) -> None:
        """torch, whose own threads would stand in the way of the workers."""
        import torch

        torch.set_num_threads(1)
        Work(task)

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """numpy views of the tensors that workers send through shared memory."""
        from torch.utils.data import DataLoader

        samples: Any = _Samples(Work(task))
        loader: Any = DataLoader(
            samples,
            batch_size=task.batch_size,
            num_workers=self._workers,
            prefetch_factor=PREFETCH_FACTOR,
            collate_fn=_collate,
        )
        yield (([field.numpy() for field in fields], ids.numpy()) for fields, ids in loader)
