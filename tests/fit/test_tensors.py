"""Numpy batches as tensors: shared where the memory allows it, copied elsewhere, alive as long as needed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.types import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.keras

NewArray = Callable[..., "NDArray[Any]"]

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


class Lease:
    """The root owner of a buffer, as the loader hands it out: dead means the buffer may be written again."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self._array.__array_interface__)


def as_batch(*arrays: Any) -> Batch:
    return Batch.build(arrays, sample_ids=np.arange(2), valid=np.ones(2, np.bool_), epoch=0, step=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("off_by_bytes", [0, 16])
def test_every_dtype_arrives_unchanged(dtype: str, off_by_bytes: int, new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensor

    array = new_array((4, 3), dtype, off_by_bytes=off_by_bytes)
    array[:] = np.arange(12).reshape(4, 3) % 2
    tensor = to_tensor(array)
    assert tensor.dtype.as_numpy_dtype == array.dtype.type
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_an_aligned_array_is_shared_and_an_unaligned_one_copied(new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensor

    shared, copied = new_array((8,)), new_array((8,), off_by_bytes=16)
    tensors = to_tensor(shared), to_tensor(copied)
    shared[:] = copied[:] = 7
    assert tensors[0].numpy().tolist() == [7.0] * 8
    assert tensors[1].numpy().tolist() == [0.0] * 8
    assert float((tensors[1] + 1.0)[0]) == 1.0  # a shared one of this address would have aborted the process


@pytest.mark.parametrize(
    "spoil",
    [
        lambda array: array[:, ::2],
        lambda array: array.T,
        lambda array: array.astype(">f4"),
        lambda array: array[:0],
        lambda array: np.array([["a", "bc"], ["d", ""]]),
    ],
    ids=["strided", "transposed", "big-endian", "empty", "strings"],
)
def test_what_cannot_be_shared_is_copied(spoil: Callable[[NDArray[Any]], NDArray[Any]], new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensor

    array = new_array((4, 4))
    array[:] = np.arange(16).reshape(4, 4)
    spoiled = spoil(array)
    tensor = to_tensor(spoiled)
    expected = np.char.encode(spoiled) if spoiled.dtype.kind == "U" else spoiled
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_a_read_only_array_is_copied(new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensor

    array = new_array((4,))
    array.flags.writeable = False
    np.testing.assert_array_equal(to_tensor(array).numpy(), array)


def test_a_buffer_is_leased_until_the_last_tensor_over_it_is_gone(new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensors

    lease = Lease(new_array((64, 16)))
    held = weakref.ref(lease)
    view = np.asarray(lease)
    batch = as_batch(view[:32], view[32:])
    del lease, view
    x, y = to_tensors(batch)
    del batch
    total = x + y
    head = x[:4]
    del x
    gc.collect()
    assert held() is not None, "y and head still read the buffer"
    del y
    gc.collect()
    assert held() is not None, "head, a slice of x, may alias the buffer"
    del head
    gc.collect()
    assert held() is None
    assert float(total[0, 0]) == 0.0


def test_a_lease_ends_at_once_where_the_batch_was_copied(new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensors

    lease = Lease(new_array((4,), off_by_bytes=8))
    held = weakref.ref(lease)
    batch = as_batch(np.asarray(lease))
    del lease
    tensors = to_tensors(batch)
    del batch
    assert held() is None
    assert tensors[0].shape == (4,)


def test_a_batch_becomes_a_plain_tuple_with_its_dicts(new_array: NewArray) -> None:
    from aioloader.fit.tensors import to_tensors

    batch = as_batch({"a": new_array((2, 1)), "b": (new_array((2,)), new_array((2, 3)))}, new_array((2,)))
    x, y = (tensors := to_tensors(batch))
    assert type(tensors) is tuple
    assert list(x) == ["a", "b"]
    assert [part.shape.as_list() for part in x["b"]] == [[2], [2, 3]]
    assert y.shape.as_list() == [2]
