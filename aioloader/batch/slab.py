"""One step's buffer and the numpy views into it."""

from __future__ import annotations

import mmap
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.tree import flatten, unflatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aioloader.batch.layout import FieldPlace, Layout
    from aioloader.types import Tree

NOT_FILLED = -1


def allocate(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed, page-aligned memory that goes back to the system with its last view.

    Private: a forked child keeps the batch it saw while the parent goes on writing.
    """
    memory = mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype=np.uint8)[:nbytes]


def field_views(buffer: NDArray[np.uint8], layout: Layout) -> list[NDArray[Any]]:
    """The fields' ``(batch_size, *shape)`` arrays in ``buffer`` (uint8, ``(layout.nbytes,)``)."""
    views: list[NDArray[Any]] = []
    for place in layout.fields:
        stop = place.offset + layout.batch_size * place.spec.nbytes
        flat = buffer[place.offset : stop].view(place.spec.dtype)
        views.append(flat.reshape((layout.batch_size, *place.spec.shape)))
    return views


class Slab:
    """A buffer laid out for one step. Slots are written by many threads or processes, each its own.

    ``number`` is its place in an `Arena`, -1 for memory of its own.
    """

    def __init__(self, layout: Layout, buffer: NDArray[np.uint8] | None = None, number: int = -1) -> None:
        self.layout = layout
        self.number = number
        self.buffer = allocate(layout.nbytes) if buffer is None else buffer
        self.positions = self._header(self.buffer, layout.positions_offset, np.dtype(np.int64))
        self.valid = self._header(self.buffer, layout.valid_offset, np.dtype(np.bool_))
        self.fields = field_views(self.buffer, layout)
        self._leaves: dict[int, list[NDArray[Any]]] = {}
        structure = layout.structure
        self._is_flat = isinstance(structure, tuple) and not any(isinstance(part, (dict, tuple)) for part in structure)
        self.shapes = [self._shapes(place) for place in layout.fields]
        """Of each field whose samples differ in shape: int64 ``(batch_size, ndim)``; None for the others."""

    def _shapes(self, place: FieldPlace) -> NDArray[np.int64] | None:
        if place.shapes_offset < 0:
            return None
        shape = self.layout.batch_size, len(place.spec.shape)
        stop = place.shapes_offset + shape[0] * shape[1] * np.dtype(np.int64).itemsize
        return self.buffer[place.shapes_offset : stop].view(np.int64).reshape(shape)

    def _header(self, buffer: NDArray[np.uint8], offset: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        return buffer[offset : offset + self.layout.batch_size * dtype.itemsize].view(dtype)

    def clear(self) -> None:
        """Mark every slot as not filled; the fields keep their old bytes."""
        self.positions.fill(NOT_FILLED)
        self.valid.fill(False)

    def slot(self, index: int) -> Tree:
        """The tree of writable views of one slot; scalars are arrays of shape ``()``.

        The views are made once and kept; what holds them is new each time, for a decoder may put others into it.
        """
        leaves = self._leaves_of(index)
        return tuple(leaves) if self._is_flat else unflatten(self.layout.structure, leaves)

    def is_slot(self, index: int, tree: Tree) -> bool:
        """Whether every leaf of ``tree``, the first fields of a slot's, is still that slot's own memory."""
        own = self._leaves_of(index)
        if isinstance(tree, np.ndarray):
            return tree is own[0]
        # None may be missing: the label's alone may follow.
        wanted = self.layout.structure if isinstance(tree, tuple) else self.layout.structure[0]
        leaves = [leaf for _, leaf in flatten(tree)]
        return len(leaves) == len(flatten(wanted)) and all(map(operator.is_, leaves, own))

    def _leaves_of(self, index: int) -> list[NDArray[Any]]:
        leaves = self._leaves.get(index)
        if leaves is None:
            leaves = [field[index : index + 1].reshape(field.shape[1:]) for field in self.fields]
            self._leaves[index] = leaves
        return leaves

    def write(self, index: int, leaves: Sequence[NDArray[Any]]) -> None:
        """Fill a slot's first fields with ``leaves``, which fit them; the label's field may follow."""
        for field, shapes, place, leaf in zip(self.fields, self.shapes, self.layout.fields, leaves, strict=False):
            if shapes is None:
                field[index] = leaf
            else:
                slot = field[index]
                slot[...] = place.spec.fill
                slot[tuple(map(slice, leaf.shape))] = leaf
                shapes[index] = leaf.shape

    def mark(self, index: int, position: int) -> None:
        """The slot holds the sample of ``position``."""
        self.positions[index] = position
        self.valid[index] = True

    def copy_slot(self, source: int, target: int) -> None:
        """Fill a slot with another one's bytes; it stays marked as not valid."""
        for field, shapes in zip(self.fields, self.shapes, strict=True):
            field[target] = field[source]
            if shapes is not None:
                shapes[target] = shapes[source]
