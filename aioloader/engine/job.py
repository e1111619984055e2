"""What a loader's streams work on, and the memory they share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aioloader.batch.arena import Arena
from aioloader.batch.layout import Layout
from aioloader.batch.ring import SlabRing, slabs_at_most
from aioloader.engine.options import look_ahead
from aioloader.errors import OptionError
from aioloader.order.keys import sample_rng

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from aioloader.batch.slab import Slab
    from aioloader.decode.function import BoundDecoder
    from aioloader.engine.ledger import Ledger
    from aioloader.engine.options import EngineOptions
    from aioloader.engine.pulse import Controller
    from aioloader.engine.step import Step
    from aioloader.errors import SampleError
    from aioloader.monitor.stats import Counters
    from aioloader.order.permutation import EpochOrder
    from aioloader.order.ranks import RankPlan
    from aioloader.types import FieldSpec, InformedStore, SampleRef, Store, Transform, Tree


class Samples(Protocol):
    """What the engine needs of a dataset."""

    @property
    def store(self) -> Store:
        """Where the bytes are."""
        ...

    @property
    def label_spec(self) -> FieldSpec | None:
        """Shape and dtype of one sample's label; None without labels."""
        ...

    def batch_labels(self, ids: NDArray[np.int64], /) -> NDArray[Any] | None:
        """The labels of ``ids``, first axis the sample; None without labels."""
        ...

    def identity(self, index: int, /) -> str:
        """What a later run knows the sample by; no secret."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> SampleRef: ...


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
    def queue_size(self) -> int:
        """Finished batches that may wait: ``max_queue_size``, less where memory does not allow so many."""
        return self._max_queue_size if self.ring is None else min(self._max_queue_size, self.ring.ring_slabs)

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

    def _make_ring(self, layout: Layout) -> None:
        slabs = self._ring_slabs(layout.nbytes)
        arena = Arena(layout, slabs_at_most(slabs)) if self._in_shared_memory else None
        self.ring = SlabRing(layout, slabs, arena)

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


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a stream needs to know; shared by all streams of a loader, written by none.

    ``store`` is the dataset's, with the loader's policies around it.
    ``weights`` are per-sample weights (float32, all samples), ``class_weights`` maps a label to its weight.
    ``is_padded`` says that a step may hold stand-ins for other ranks' samples. ``spec`` are the fields of what decoder
    and transform return, where the user said so. ``controller`` sets the knobs that the user did not.
    """

    samples: Samples
    store: InformedStore
    decoder: BoundDecoder
    transform: Transform | None
    order: EpochOrder
    plan: RankPlan
    options: EngineOptions
    workspace: Workspace
    counters: Counters
    ledger: Ledger
    controller: Controller
    weights: NDArray[np.float32] | None = None
    class_weights: Mapping[int, float] | None = None
    is_padded: bool = False
    spec: Tree | None = None

    def is_fatal(self, error: SampleError) -> bool:
        """Whether the failure ends the stream: always, unless skipping was asked for and makes sense."""
        return self.options.on_error == "raise" or not error.skippable

    def look_ahead(self, concurrency: int) -> int:
        """Samples begun ahead of the consumer for so many requests in flight."""
        return look_ahead(concurrency, self.plan.batch_size)

    def rng(self, epoch: int, sample_id: int) -> np.random.Generator | None:
        """The sample's generator; None where nobody draws from it (building one costs 10 µs)."""
        if not self.decoder.needs_rng and self.transform is None:
            return None
        return sample_rng(self.order.seed, epoch, sample_id)
