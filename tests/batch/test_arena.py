"""Slabs in shared memory: apart from each other, the same for everybody who maps them, gone with the last."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import numpy as np
import pytest

from aioloader.batch.arena import Arena, anonymous_file
from aioloader.batch.layout import Layout
from aioloader.batch.ring import SlabRing, slabs_at_most
from aioloader.types import FieldSpec

LAYOUT = Layout.plan((FieldSpec((3, 5), np.dtype("float32")), FieldSpec((), np.dtype("int64"))), 7)
WIDE = Layout.plan((FieldSpec((mmap.PAGESIZE + 1,), np.dtype("uint8")),), 3)


@pytest.mark.parametrize("layout", [LAYOUT, WIDE], ids=["small", "wide"])
def test_slabs_are_numbered_aligned_and_never_overlap(layout: Layout) -> None:
    arena = Arena(layout, 5)
    slabs = [arena.slab(number) for number in range(5)]
    for slab in slabs:
        slab.buffer[:] = slab.number + 1
    for number, slab in enumerate(slabs):
        assert slab.number == number
        assert (slab.buffer == number + 1).all()
        assert slab.buffer.nbytes == layout.nbytes
        assert all(field.ctypes.data % 64 == 0 for field in slab.fields)
    arena.close()


def test_another_mapping_sees_and_writes_the_same_bytes() -> None:
    arena = Arena(LAYOUT, 3)
    other = Arena(LAYOUT, 3, os.dup(arena.descriptor))
    other.close()  # the mapping is enough
    ours, theirs = arena.slab(2), other.slab(2)
    ours.clear()
    theirs.fields[0][4] = 2.5
    theirs.mark(4, 1234)
    assert (ours.fields[0][4] == 2.5).all()
    assert ours.positions.tolist() == [-1, -1, -1, -1, 1234, -1, -1]
    assert ours.valid.tolist() == [False] * 4 + [True] + [False] * 2
    assert not arena.slab(1).buffer.any()
    arena.close()


def test_what_is_mapped_stays_after_the_descriptor_and_the_arena_are_gone() -> None:
    arena = Arena(LAYOUT, 2)
    descriptor = arena.descriptor
    view = arena.slab(1).fields[0]
    view[...] = 7
    arena.close()
    arena.close()
    del arena
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert (view == 7).all()


def test_an_arena_that_is_collected_closes_its_descriptor() -> None:
    descriptor = Arena(LAYOUT, 2).descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_pages_are_taken_only_when_they_are_written() -> None:
    arena = Arena(Layout.plan((FieldSpec((1_000_000,), np.dtype("uint8")),), 10), 20)
    assert os.fstat(arena.descriptor).st_size >= 200_000_000
    arena.slab(3).fields[0][2] = 1
    if hasattr(os, "memfd_create"):
        assert os.fstat(arena.descriptor).st_blocks * 512 < 3_000_000
    arena.close()


def test_the_descriptor_is_not_inherited_by_programs_that_are_started() -> None:
    descriptor = anonymous_file("aioloader-test")
    try:
        code = f"import os\ntry:\n    os.fstat({descriptor})\nexcept OSError:\n    print('closed')"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, close_fds=False, timeout=60, check=True
        )
        assert done.stdout == "closed\n"
    finally:
        os.close(descriptor)


def test_a_ring_over_an_arena_gives_each_slab_once_and_none_when_all_are_out() -> None:
    arena = Arena(LAYOUT, slabs_at_most(2))
    ring = SlabRing(LAYOUT, 2, arena)
    out = [ring.take_if_any() for _ in range(slabs_at_most(2))]
    numbers = [slab.number for slab in out if slab is not None]
    assert sorted(numbers) == list(range(slabs_at_most(2)))
    assert ring.take_if_any() is None
    back = out[1]
    assert back is not None
    ring.give_back(back)
    assert ring.take_if_any() is back
    views = ring.lend(back)
    assert ring.take_if_any() is None
    del views
    assert ring.take_if_any() is back
    arena.close()
