"""One step's buffer: cleared, marked, copied slot by slot."""

from __future__ import annotations

import mmap

import numpy as np

from aioloader.batch.layout import Layout
from aioloader.batch.slab import NOT_FILLED, Slab, allocate
from aioloader.types import FieldSpec


def test_a_new_slab_is_page_aligned_and_zero(layout: Layout) -> None:
    slab = Slab(layout)
    assert slab.buffer.__array_interface__["data"][0] % mmap.PAGESIZE == 0
    assert slab.buffer.shape == (layout.nbytes,)
    assert not slab.buffer.any()


def test_memory_of_no_bytes_is_an_empty_array() -> None:
    assert allocate(0).shape == (0,)


def test_clear_forgets_the_slots_and_leaves_the_bytes(layout: Layout) -> None:
    slab = Slab(layout)
    slab.fields[0][:] = 7
    slab.mark(2, 41)
    assert (slab.positions[2], slab.valid.tolist()) == (41, [False, False, True, False])
    slab.clear()
    assert (slab.positions == NOT_FILLED).all()
    assert not slab.valid.any()
    assert (slab.fields[0] == 7).all()


def test_two_slots_share_no_byte() -> None:
    slab = Slab(Layout.plan({"a": FieldSpec((3,), np.dtype(np.uint8)), "b": FieldSpec((), np.dtype(np.bool_))}, 3))
    slab.slot(1)["a"][...] = 255
    slab.slot(1)["b"][...] = True
    assert slab.fields[0].tolist() == [[0, 0, 0], [255, 255, 255], [0, 0, 0]]
    assert slab.fields[1].tolist() == [False, True, False]
    assert not slab.valid.any()


def test_a_copied_slot_has_the_bytes_but_is_not_marked(layout: Layout) -> None:
    slab = Slab(layout)
    slab.clear()
    slab.fields[0][3] = np.arange(15).reshape(3, 5)
    slab.fields[1][3] = -5
    slab.mark(3, 9)
    slab.copy_slot(3, 0)
    assert np.array_equal(slab.fields[0][0], np.arange(15).reshape(3, 5))
    assert slab.fields[1].tolist() == [-5, 0, 0, -5]
    assert slab.positions.tolist() == [NOT_FILLED, NOT_FILLED, NOT_FILLED, 9]
    assert slab.valid.tolist() == [False, False, False, True]
