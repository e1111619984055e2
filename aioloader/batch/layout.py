"""Where each field of a batch lies in its slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aioloader.tree import flatten

if TYPE_CHECKING:
    from aioloader.types import FieldSpec, Tree

ALIGNMENT = 64
"""Bytes. TensorFlow, JAX and dlpack take a numpy buffer without a copy only on such a boundary."""


@dataclass(frozen=True)
class FieldPlace:
    """One field: its spec, and the offset in bytes of its ``(batch_size, *shape)`` array.

    Where samples differ in shape, ``shapes_offset`` is that of their shapes (int64, ``(batch_size, ndim)``), else -1.
    """

    path: str
    spec: FieldSpec
    offset: int
    shapes_offset: int = -1


@dataclass(frozen=True)
class Layout:
    """The header (position and validity of every slot) and the fields, each on an aligned offset."""

    structure: Tree
    batch_size: int
    positions_offset: int
    valid_offset: int
    fields: tuple[FieldPlace, ...]
    nbytes: int

    @classmethod
    def plan(cls, structure: Tree, batch_size: int) -> Layout:
        """The layout for ``batch_size`` samples of a tree of `FieldSpec`."""
        cursor = 0

        def place(nbytes: int) -> int:
            nonlocal cursor
            offset = cursor
            cursor = -(-(cursor + nbytes) // ALIGNMENT) * ALIGNMENT
            return offset

        positions_offset = place(batch_size * np.dtype(np.int64).itemsize)
        valid_offset = place(batch_size)
        fields = tuple(
            FieldPlace(
                path,
                spec,
                place(batch_size * spec.nbytes),
                place(batch_size * len(spec.shape) * np.dtype(np.int64).itemsize) if spec.is_variable else -1,
            )
            for path, spec in flatten(structure)
        )
        return cls(structure, batch_size, positions_offset, valid_offset, fields, cursor)
