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
    """Slabs of one layout. ``ring_slabs`` bounds both what is being filled and what is lent; see `resize`.

    ``take`` and ``lend`` are called under the stream's lock or by its one consumer; slabs come back from
    finalizers, in any thread, without a lock. With an ``arena`` its slabs are all there are.

    A ring may follow another one (``before``) whose batches the consumer still holds: these count as lent by this one.
    """

    def __init__(
        self, layout: Layout, ring_slabs: int, arena: Arena | None = None, before: SlabRing | None = None
    ) -> None:
        self.layout = layout
        self.arena = arena
        self.ring_slabs = ring_slabs
        self.private_copies: int = 0 if before is None else before.private_copies
        self._next_collection: int = 0 if before is None else before._next_collection  # in private copies
        self._before = before
        self._is_retired = False
        self._slabs: set[Slab] = set()  # those that take memory; each step on it is one that no thread interrupts
        self._free: deque[Slab] = deque()
        self._without_memory: deque[Slab] = deque()  # the arena's
        self._numbers = count()  # the arena's that were never taken
        self._lent: dict[int, Slab] = {}
        self._tokens = count()

    @property
    def allocated(self) -> int:
        """Slabs that take memory now, of the ring before too."""
        return len(self._slabs) + (0 if self._before is None else self._before.allocated)

    @property
    def bound_bytes(self) -> int:
        """The most that slabs take: a ring being filled, a ring being lent, and the one on its way between them.

        After a `resize` to less: once the batches that are lent have come back.
        """
        return slabs_at_most(self.ring_slabs) * self.layout.nbytes

    @property
    def lent(self) -> int:
        """Slabs whose views the consumer still holds, of the ring before too."""
        before = self._before
        if before is not None and not (lent_before := before.lent):
            self._before = before = None
        return len(self._lent) + (0 if before is None else lent_before)

    def resize(self, ring_slabs: int) -> None:
        """Another bound from now on; memory beyond it goes, at once or when it comes back."""
        self.ring_slabs = ring_slabs
        self._drop_free()

    def retire(self) -> None:
        """Another ring follows: what comes back is not kept, though slabs may still be taken."""
        self._is_retired = True
        self._drop_free()

    @property
    def _has_too_many(self) -> bool:
        return self._is_retired or len(self._slabs) > slabs_at_most(self.ring_slabs)

    def _drop_free(self) -> None:
        while self._has_too_many:
            try:
                slab = self._free.pop()
            except IndexError:
                return
            self._drop(slab)

    def _drop(self, slab: Slab) -> None:
        self._slabs.discard(slab)
        if self.arena is not None:
            self.arena.give_up(slab)
            self._without_memory.append(slab)

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
            made = self._make()
            if made is None:
                return None
            slab = made
            self._slabs.add(slab)
        slab.clear()
        return slab

    def _make(self) -> Slab | None:
        if self.arena is None:
            return Slab(self.layout)
        # Beyond the bound only what a consumer keeps from before a `resize` to less is made up for.
        if len(self._slabs) >= max(slabs_at_most(self.ring_slabs), self.ring_slabs + len(self._lent) + 1):
            return None
        try:
            return self._without_memory.pop()
        except IndexError:
            number = next(self._numbers)
            return self.arena.slab(number) if number < self.arena.slabs else None

    def give_back(self, slab: Slab) -> None:
        """Take a slab that nobody reads or writes."""
        if self._has_too_many:
            self._drop(slab)
        else:
            self._free.append(slab)

    def is_lent(self, slab: Slab) -> bool:
        """Whether a consumer's views keep it out of the ring, or it has come back already."""
        return slab in self._lent.values() or slab in self._free or slab not in self._slabs

    def _returned(self, token: int) -> None:
        slab = self._lent.pop(token, None)
        if slab is not None:
            self.give_back(slab)

    def lend(self, slab: Slab) -> list[NDArray[Any]]:
        """The fields as writable views that keep the slab out of the ring while any of them lives.

        With a ring's worth lent out already (after one collection) they are a private copy instead.
        """
        if self.lent >= self.ring_slabs and self.private_copies >= self._next_collection:
            gc.collect()  # JAX lets go of arguments only at a later dispatch or collection
        if self.lent >= self.ring_slabs:
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
