"""The slabs of one loader in shared memory: one descriptor, mapped once by every process that writes them."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from typing import TYPE_CHECKING

import numpy as np

from aioloader.batch.slab import Slab

if TYPE_CHECKING:
    from aioloader.batch.layout import Layout


class Arena:
    """``slabs`` slabs of one layout, numbered from 0. Pages are taken when they are first written.

    The memory has no name: it is gone with the last process that maps it, however that one ends.
    """

    def __init__(self, layout: Layout, slabs: int, descriptor: int | None = None) -> None:
        """Make it, or map the one behind ``descriptor``, which becomes the arena's own."""
        self.layout = layout
        self.slabs = slabs
        self._stride = -(-layout.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE or mmap.PAGESIZE
        self.descriptor = anonymous_file("aioloader-slabs") if descriptor is None else descriptor
        self._closer = weakref.finalize(self, os.close, self.descriptor)
        if descriptor is None:
            os.ftruncate(self.descriptor, self._stride * slabs)
        memory = mmap.mmap(self.descriptor, self._stride * slabs, flags=mmap.MAP_SHARED)
        self._memory = memory
        self._bytes = np.frombuffer(memory, dtype=np.uint8)

    def slab(self, number: int) -> Slab:
        """Slab ``number``; every process sees the same bytes."""
        start = number * self._stride
        return Slab(self.layout, self._bytes[start : start + self.layout.nbytes], number)

    def give_up(self, slab: Slab) -> None:
        """Let the memory of a slab go, in every process; it may be written again. Nobody may read it; takes no lock."""
        if hasattr(mmap, "MADV_REMOVE"):  # Linux
            self._memory.madvise(mmap.MADV_REMOVE, slab.number * self._stride, self._stride)

    def close(self) -> None:
        """Let go of the descriptor; what is mapped stays until its last view is gone. Idempotent."""
        self._closer()


def anonymous_file(name: str) -> int:
    """A descriptor of memory that has no path; ``name`` is what the system shows of it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # macOS: a file that has no name any more
        return os.dup(file.fileno())
