"""Batches as one array, aligned so that TensorFlow and JAX can take them without another copy."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from runner.job import Job

ALIGNMENT = 64


def aligned_empty(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 of ``shape`` whose first byte lies on a cache line; numpy's own allocator never does that."""
    size = prod(shape)
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].reshape(shape)


def stacked(samples: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The samples as one aligned array."""
    batch = aligned_empty((len(samples), *samples[0].shape))
    for slot, sample in enumerate(samples):
        batch[slot] = sample
    return batch


def decoded_batch(
    job: Job, decode: Callable[[bytes, tuple[int, int]], NDArray[np.uint8]], bodies: Sequence[bytes]
) -> NDArray[np.uint8]:
    """``bodies`` decoded one after another into one aligned array."""
    first = decode(bodies[0], job.size)
    batch = aligned_empty((len(bodies), *first.shape))
    batch[0] = first
    for slot in range(1, len(bodies)):
        batch[slot] = decode(bodies[slot], job.size)
    return batch
