"""Batches of numpy arrays as TensorFlow tensors, without a copy where the memory allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from aioloader.tree import flatten, unflatten

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.types import Batch

ALIGNMENT_BYTES = 64
"""TensorFlow aborts the process at the first use of a DLPack tensor that is aligned to less."""


def to_tensors(batch: Batch) -> tuple[Any, ...]:
    """The batch as a plain tuple of tensors, dicts kept: Keras takes a tuple's subclass for one leaf.

    A tensor that shares an array's memory keeps the array, and so the slab's lease, alive for as long as any
    tensor uses the memory.
    """
    tensors: tuple[Any, ...] = unflatten(batch, [to_tensor(array) for _, array in flatten(batch)])
    return tensors


def to_tensor(array: NDArray[Any]) -> Any:
    """A tensor of the same shape and dtype; shares the memory of contiguous, aligned, writable arrays.

    Measured on a Xeon: 1.3 µs to share any size; to copy, 20 µs for 64 bytes and 900 µs for 8 MiB. So small
    arrays are shared as well.
    """
    if shares_memory(array):
        try:
            return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
        except (BufferError, tf.errors.InvalidArgumentError):
            pass  # read-only, or a dtype that DLPack or TensorFlow's reading of it does not know
    return tf.convert_to_tensor(array)


def shares_memory(array: NDArray[Any]) -> bool:
    """Whether DLPack may be tried: C order, something in it, and aligned to 64 bytes."""
    if not (array.flags.c_contiguous and array.size):
        return False
    return int(np.asarray(array).__array_interface__["data"][0]) % ALIGNMENT_BYTES == 0
