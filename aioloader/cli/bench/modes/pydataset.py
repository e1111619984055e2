"""Keras' PyDataset as its guide writes it, a batch's samples one after another, with as many workers as help.

Keras loads at most ``max_queue_size + 2`` batches at once, whatever ``workers`` says: both are stated, and match.
"""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.cli.bench.work import Work, collated
from aioloader.runtime.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task

THREADS = 16
PROCESSES_PER_CORE = 4
QUEUE = 16


class InPyDataset:
    """Batches through Keras' own adapter, by the way that makes no tensors of them."""

    def __init__(self, *, use_multiprocessing: bool) -> None:
        self._use_multiprocessing = use_multiprocessing
        self._workers = PROCESSES_PER_CORE * usable_cores() if use_multiprocessing else THREADS

    def quantum(self, task: Task) -> int:
        """A batch of each that is loaded at once."""
        return min(self._workers, QUEUE + 2) * task.batch_size

    def settings(self, task: Task) -> str:
        """Keras' names."""
        return f"workers={self._workers}, max_queue_size={QUEUE}: {min(self._workers, QUEUE + 2)} batches at once"

    def prepare(self, task: Task) -> None:
        """Keras, on the user's backend or the first that is there."""
        if "KERAS_BACKEND" not in os.environ:
            there = [name for name in ("tensorflow", "jax", "torch") if find_spec(name) is not None]
            os.environ["KERAS_BACKEND"] = there[0] if there else "numpy"
        import keras  # noqa: F401 - before anything is timed

        Work(task)

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """As ``fit`` pulls them."""
        import keras
        from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

        work, steps = Work(task), Work(task).batches()
        # Keras' stop waits for all that is queued, some seconds' worth: what is not done by then has no use.
        is_over = multiprocessing.Value("b", False, lock=False)

        class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
            def __len__(self) -> int:
                return len(steps)

            def __getitem__(self, step: int) -> tuple[Any, ...] | None:
                samples = [work.sample(index) for index in steps[step] if not is_over.value]
                if is_over.value:
                    return None
                arrays = collated(samples)
                return {f"field {number}": array for number, array in enumerate(arrays)}, np.array(steps[step])

        dataset = Batches(workers=self._workers, use_multiprocessing=self._use_multiprocessing, max_queue_size=QUEUE)
        adapter = PyDatasetAdapter(dataset, shuffle=False)
        adapter.on_epoch_begin()
        batches = adapter.get_numpy_iterator()
        try:
            yield ((list(fields.values()), ids) for fields, ids in (next(batches) for _ in steps))
        finally:
            is_over.value = True
            adapter.enqueuer.stop()
