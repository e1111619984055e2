"""tf.data: a parallel map of a Python function over the samples' numbers, batched and prefetched by itself.

The calls have a stated number, and a pool of their own: AUTOTUNE knows cores, not latency, and the shared pool has few
threads to wait in where there are few cores.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.cli.bench.work import IN_FLIGHT, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task


class TfData:
    """TensorFlow reads no plain HTTP by itself, so that fetching and decoding are a ``numpy_function``."""

    _fields: list[NDArray[Any]]

    def quantum(self, task: Task) -> int:
        """None: a batch's samples come together."""
        return 0

    def settings(self, task: Task) -> str:
        """How many calls."""
        return f"{IN_FLIGHT} parallel calls"

    def prepare(self, task: Task) -> None:
        """TensorFlow, which takes seconds, and its first function, which takes as long as some batches."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        self._fields = Work(task).sample(0)  # who writes such a program knows their shapes
        list(tf.data.Dataset.range(1).map(lambda number: number).batch(1))

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """The dataset's tensors, without a copy."""
        import tensorflow as tf

        work = Work(task)
        types = [tf.as_dtype(field.dtype) for field in self._fields]
        is_ragged = task.decode == "raw"

        def load(index: Any) -> tuple[Any, ...]:
            fields = tf.numpy_function(lambda number: work.sample(int(number)), [index], types)
            shapes = [(None,)] if is_ragged else [field.shape for field in self._fields]
            return index, *(tf.ensure_shape(field, shape) for field, shape in zip(fields, shapes, strict=True))

        dataset = tf.data.Dataset.range(len(task.data)).map(load, num_parallel_calls=IN_FLIGHT)
        dataset = (dataset.padded_batch if is_ragged else dataset.batch)(task.batch_size).prefetch(tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.threading.private_threadpool_size = IN_FLIGHT
        yield (([field.numpy() for field in fields], np.asarray(ids)) for ids, *fields in dataset.with_options(options))
