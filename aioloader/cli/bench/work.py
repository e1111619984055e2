"""The work on one sample, as modes do it that are not aioloader: fetch, decode, put together."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.cli.bench.fetching import Source, source_of
from aioloader.cli.decode_option import decoding
from aioloader.tree import flatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aioloader.cli.bench.task import Task

IN_FLIGHT = 64
"""Requests at once where a mode says how many: the threads, and tf.data's parallel calls."""


class Work:
    """One task's samples; used by many threads. Its source is opened when it is first used: a process has its own."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._decoder = decoding(task.decode, task.largest_bytes).bound

    @cached_property
    def source(self) -> Source:
        """Where the bytes come from."""
        return source_of(self.task.root)

    def sample(self, index: int) -> list[NDArray[Any]]:
        """Sample ``index`` fetched and decoded: its fields."""
        return self.decoded(self.source.get(self.task.data[index]), index)

    def decoded(self, body: bytes, index: int) -> list[NDArray[Any]]:
        """The fields of sample ``index``, whose bytes are ``body``."""
        rng = np.random.default_rng(index) if self._decoder.needs_rng else None
        fields = self._decoder.decode(body, self.task.data[index], rng)
        return [np.asarray(field) for _, field in flatten(fields)]

    def batches(self) -> list[range]:
        """The ids of each batch; the last may be short."""
        count, size = len(self.task.data), self.task.batch_size
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


def collated(samples: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Each field of all ``samples`` as one array; bytes of several lengths are padded to the longest."""
    return [_stacked(field) for field in zip(*samples, strict=True)]


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if arrays[0].ndim == 1 and arrays[0].dtype == np.uint8:
        batch = np.zeros((len(arrays), max(map(len, arrays))), np.uint8)
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch
    return np.stack(arrays)
