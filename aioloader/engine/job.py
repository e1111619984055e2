"""What a loader's streams work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aioloader.engine.options import look_ahead
from aioloader.engine.witnesses import Witnesses
from aioloader.order.keys import sample_rng

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from aioloader.decode.function import BoundDecoder
    from aioloader.engine.ledger import Ledger
    from aioloader.engine.options import EngineOptions
    from aioloader.engine.pulse import Controller
    from aioloader.engine.workspace import Workspace
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


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything a stream needs to know; shared by all streams of a loader, written by none.

    ``store`` is the dataset's, with the loader's policies around it.
    ``weights`` are per-sample weights (float32, all samples), ``class_weights`` maps a label to its weight.
    ``is_padded`` says that a step may hold stand-ins for other ranks' samples. ``spec`` are the fields of what decoder
    and transform return, where the user said so. ``controller`` sets the knobs that the user did not;
    ``kind_is_open``: whether threads or processes is one of them.
    """

    samples: Samples
    store: InformedStore
    decoder: BoundDecoder
    transform: Transform | None
    order: EpochOrder
    plan: RankPlan
    options: EngineOptions
    workspace: Workspace
    controller: Controller
    counters: Counters
    ledger: Ledger
    weights: NDArray[np.float32] | None = None
    class_weights: Mapping[int, float] | None = None
    is_padded: bool = False
    spec: Tree | None = None
    kind_is_open: bool = False
    witnesses: Witnesses = field(default_factory=Witnesses)

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
