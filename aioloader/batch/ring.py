"""The slabs of one loader: filled, lent to the consumer, reused when the last view is gone.

A lease is the root owner of every view of a lent slab: its finalizer, not a count of batches handed out, says when
the memory may be written again (JAX reads numpy arguments after the call has returned).
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.batch.slab import Slab, allocate, field_views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.batch.arena import Arena
    from aioloader.batch.layout import Layout

log = logging.getLogger(__name__)


def slabs_at_most(ring_slabs: int) -> int:
    """Slabs that a ring of ``ring_slabs`` allocates at most."""
    return 2 * ring_slabs + 1


class _Lease:
    """Owns a slab's memory in numpy's eyes: ``.base`` of every view of the lent batch leads here."""

    def __init__(self, slab: Slab) -> None:
        # The slab's array stays referenced: its address stays valid for as long as a view lives.
        self._owner = slab.buffer
        self.__array_interface__ = slab.buffer.__array_interface__


class SlabRing:
    """Slabs of one layout. ``ring_slabs`` bounds both what is being filled and what is lent.

    ``take`` and ``lend`` are called under the stream's lock or by its one consumer; slabs come back from
    finalizers, in any thread, without a lock. With an ``arena`` its slabs are all there are.
    """

    def __init__(self, layout: Layout, ring_slabs: int, arena: Arena | None = None) -> None:
        self.layout = layout
        self.arena = arena
        self.ring_slabs = ring_slabs
        self.allocated = 0
        self.private_copies = 0
        self._free: deque[Slab] = deque()
        self._lent: dict[int, Slab] = {}
        self._next_collection = 0  # in private copies
        self._tokens = count()

    @property
    def bound_bytes(self) -> int:
        """The most that slabs take: a ring being filled, a ring being lent, and the one on its way between them."""
        return slabs_at_most(self.ring_slabs) * self.layout.nbytes

    @property
    def lent(self) -> int:
        """Slabs whose views the consumer still holds."""
        return len(self._lent)

    def take(self) -> Slab:
        """A cleared slab to fill. Without an arena there always is one."""
        slab = self.take_if_any()
        assert slab is not None
        return slab

    def take_if_any(self) -> Slab | None:
        """The same; None where the arena has none left until one comes back."""
        try:
            slab = self._free.pop()
        except IndexError:
            if self.arena is None:
                slab = Slab(self.layout)
            elif self.allocated < self.arena.slabs:
                slab = self.arena.slab(self.allocated)
            else:
                return None
            self.allocated += 1
        slab.clear()
        return slab

    def give_back(self, slab: Slab) -> None:
        """Take a slab that nobody reads or writes."""
        self._free.append(slab)

    def is_lent(self, slab: Slab) -> bool:
        """Whether a consumer's views keep it out of the ring, or it has come back already."""
        return slab in self._lent.values() or slab in self._free

    def _returned(self, token: int) -> None:
        slab = self._lent.pop(token, None)
        if slab is not None:
            self._free.append(slab)

    def lend(self, slab: Slab) -> list[NDArray[Any]]:
        """The fields as writable views that keep the slab out of the ring while any of them lives.

        With a ring's worth lent out already (after one collection) they are a private copy instead.
        """
        if len(self._lent) >= self.ring_slabs and self.private_copies >= self._next_collection:
            gc.collect()  # JAX lets go of arguments only at a later dispatch or collection
        if len(self._lent) >= self.ring_slabs:
            return self._copy(slab)
        lease = _Lease(slab)
        token = next(self._tokens)
        self._lent[token] = slab
        finalizer = weakref.finalize(lease, self._returned, token)
        finalizer.atexit = False
        return field_views(np.asarray(lease), self.layout)

    def _copy(self, slab: Slab) -> list[NDArray[Any]]:
        if self.private_copies >= self._next_collection:
            # The collection was in vain, and costs 0.1 s beside TensorFlow: who keeps batches pays ever more rarely.
            self._next_collection = 2 * self.private_copies + 1
        if self.private_copies == 0:
            log.warning(
                "%d batches are still referenced; further ones are copied out of the ring. "
                "Drop batches after use, or raise max_queue_size.",
                self.ring_slabs,
            )
        self.private_copies += 1
        private = allocate(self.layout.nbytes)
        np.copyto(private, slab.buffer)
        self.give_back(slab)
        return field_views(private, self.layout)
