"""One step's buffer and the numpy views into it."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.tree import unflatten

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.batch.layout import Layout
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

    def _header(self, buffer: NDArray[np.uint8], offset: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        return buffer[offset : offset + self.layout.batch_size * dtype.itemsize].view(dtype)

    def clear(self) -> None:
        """Mark every slot as not filled; the fields keep their old bytes."""
        self.positions.fill(NOT_FILLED)
        self.valid.fill(False)

    def slot(self, index: int) -> Tree:
        """The tree of writable views of one slot; scalars are arrays of shape ``()``."""
        return unflatten(
            self.layout.structure,
            [field[index : index + 1].reshape(field.shape[1:]) for field in self.fields],
        )

    def mark(self, index: int, position: int) -> None:
        """The slot holds the sample of ``position``."""
        self.positions[index] = position
        self.valid[index] = True

    def copy_slot(self, source: int, target: int) -> None:
        """Fill a slot with another one's bytes; it stays marked as not valid."""
        for field in self.fields:
            field[target] = field[source]
