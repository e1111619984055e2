"""The memory that a loader's streams share: made when the fields are known."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from aioloader.batch.arena import Arena
from aioloader.batch.layout import Layout
from aioloader.batch.ring import SlabRing, slabs_at_most
from aioloader.errors import OptionError

if TYPE_CHECKING:
    from aioloader.batch.slab import Slab
    from aioloader.engine.step import Step
    from aioloader.types import FieldSpec, Tree

LARGEST_QUEUE: Final = 128
"""Steps that may be open at most, unless the loader was made with more: shared memory is laid out for them."""


class Workspace:
    """The ring of one loader, made when the fields are known: declared, or taken from the first sample."""

    def __init__(
        self,
        batch_size: int,
        max_queue_size: int,
        slab_bytes: int,
        *,
        queue_is_fixed: bool = False,
        memory_is_fixed: bool = False,
        in_shared_memory: bool = False,
    ) -> None:
        self._batch_size = batch_size
        self._max_queue_size = max_queue_size
        self._largest_queue = max(max_queue_size, LARGEST_QUEUE)
        self._slab_bytes = slab_bytes
        self._queue_is_fixed = queue_is_fixed
        self._memory_is_fixed = memory_is_fixed
        self._in_shared_memory = in_shared_memory
        self._lock = threading.RLock()
        self.layout: Layout | None = None
        self.ring: SlabRing | None = None
        """Made when the fields are known, gone while the loader is closed."""
        self.first_key: str | None = None
        """The sample that set the fields; None where the decoder's ``spec()`` declared them."""
        self.by_decoder = False
        """Whether the decoder's own ``spec()`` declared the fields: then it may write into a slot."""
        self.decoder_fills_all = False
        """Whether the decoder returns the batch's whole tuple; else the label is the dataset's."""

    @property
    def is_declared(self) -> bool:
        """Whether the decoder's ``spec()`` set the fields (then there is no transform)."""
        return self.layout is not None and self.first_key is None and self.by_decoder

    @property
    def max_queue_size(self) -> int:
        """Steps that are asked for; `open_steps` is what memory allows of them."""
        return self._max_queue_size

    @property
    def open_steps(self) -> int:
        """Steps that may be open at once, whole ones included: ``max_queue_size`` where memory allows."""
        return min(self._max_queue_size, self.ring.ring_slabs) if self.ring is not None else 1

    def slab_for(self, step: Step) -> Slab:
        """The step's slab, taken from the ring by whoever needs it first."""
        slab = self.slab_if_any(step)
        assert slab is not None  # memory of this process is never used up
        return slab

    def slab_if_any(self, step: Step) -> Slab | None:
        """The same; None where shared memory has no free slab at this moment."""
        with self._lock:
            assert self.ring is not None  # callers have settled the fields, or looked
            if step.slab is None:
                step.slab = self.ring.take_if_any()
            return step.slab

    def take_back(self, step: Step) -> None:
        """A whole step that is not delivered: its slab may be filled again."""
        with self._lock:
            slab, step.slab = step.slab, None
            if self.ring is not None and slab is not None and not self.ring.is_lent(slab):
                self.ring.give_back(slab)

    def set_queue(self, max_queue_size: int) -> None:
        """Another number of steps may be open from now on, as far as memory allows; those that are stay so.

        Streams that work in it must hear of it: see `Stream.room_changed`.
        """
        with self._lock:
            self._max_queue_size = min(max(max_queue_size, 1), self._largest_queue)
            if self.ring is not None:
                self.ring.resize(self._ring_slabs(self.ring.layout.nbytes))

    def successor(self, *, in_shared_memory: bool) -> Workspace:
        """One of the same fields, memory and queue, its slabs elsewhere, for a stream that follows on this one's.

        Made while the fields are known. What the consumer still holds of this one counts as held of the new one; see
        `retire`.
        """
        with self._lock:
            other = Workspace(
                self._batch_size,
                self._max_queue_size,
                self._slab_bytes,
                queue_is_fixed=self._queue_is_fixed,
                memory_is_fixed=self._memory_is_fixed,
                in_shared_memory=in_shared_memory,
            )
            other._largest_queue = self._largest_queue
            other.first_key = self.first_key
            other.by_decoder = self.by_decoder
            other.decoder_fills_all = self.decoder_fills_all
            other.layout = self.layout
            if other.layout is not None:
                other._make_ring(other.layout, self.ring)
            return other

    def retire(self) -> None:
        """The successor has taken over: slabs that come back are not kept, though what was begun may take some."""
        with self._lock:
            if self.ring is not None:
                self.ring.retire()

    def _ring_slabs(self, slab_bytes: int) -> int:
        """How many slabs: the queue's and two more; fewer where memory says so and the user did not."""
        wanted = self._max_queue_size + 2
        affordable = (self._slab_bytes // max(slab_bytes, 1) - 1) // 2
        if wanted <= affordable or (self._queue_is_fixed and not self._memory_is_fixed):
            return wanted
        least = wanted if self._queue_is_fixed else 2
        if affordable < least:
            remedy = "lower batch_size or max_queue_size" if self._queue_is_fixed else "lower batch_size"
            raise OptionError(
                "max_memory",
                f"{self._slab_bytes:,} bytes for batches",
                f"at least {slabs_at_most(least) * slab_bytes:,} bytes: a batch of {self._batch_size} samples takes "
                f"{slab_bytes:,} and {slabs_at_most(least)} are needed; {remedy} or raise max_memory",
            )
        return affordable

    def settle(self, decoded: Tree, label: FieldSpec | None, first_key: str | None, *, by_decoder: bool = True) -> None:
        """Make the ring from the specs of what the decoder returns and of the label; the first call wins.

        Raises `OptionError` where not even two slabs fit ``slab_bytes``.
        """
        with self._lock:
            if self.layout is None:
                self.decoder_fills_all = isinstance(decoded, tuple)
                structure = decoded if self.decoder_fills_all else (decoded,) if label is None else (decoded, label)
                layout = Layout.plan(structure, self._batch_size)
                self._make_ring(layout)
                self.layout = layout
                self.first_key = first_key
                self.by_decoder = by_decoder

    def _make_ring(self, layout: Layout, before: SlabRing | None = None) -> None:
        slabs = self._ring_slabs(layout.nbytes)
        arena = None
        if self._in_shared_memory:  # for the largest ring there may be: its pages are taken when they are written
            affordable = (self._slab_bytes // max(layout.nbytes, 1) - 1) // 2
            arena = Arena(layout, slabs_at_most(max(slabs, min(self._largest_queue + 2, affordable))))
        self.ring = SlabRing(layout, slabs, arena, before)

    def open(self) -> None:
        """Make the ring again for the fields that are known, after `release`."""
        with self._lock:
            if self.layout is not None and self.ring is None:
                self._make_ring(self.layout)

    def release(self) -> None:
        """Let the slabs go; those lent live on with their views."""
        with self._lock:
            if self.ring is not None and self.ring.arena is not None:
                self.ring.arena.close()
            self.ring = None

    @property
    def bound_bytes(self) -> int:
        """The most that slabs take; 0 before the fields are known."""
        return 0 if self.layout is None else slabs_at_most(self._ring_slabs(self.layout.nbytes)) * self.layout.nbytes
