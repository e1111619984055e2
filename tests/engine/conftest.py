"""A job without a store: everything else is the real thing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.decode.function import as_decoder
from aioloader.engine.job import Job
from aioloader.engine.ledger import Ledger
from aioloader.engine.options import EngineOptions
from aioloader.engine.workspace import Workspace
from aioloader.monitor.stats import Counters
from aioloader.order.permutation import EpochOrder
from aioloader.order.ranks import RankPlan
from aioloader.storage.memory import MemoryStore
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.stack import with_policies
from aioloader.tune.knobs import KNOBS, settings_of
from aioloader.tune.tuner import Tuner
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

OPTIONS = EngineOptions(
    concurrency=4,
    look_ahead=16,
    workers=2,
    max_queue_size=2,
    body_bytes=None,
    slab_bytes=10_000_000,
    on_error="raise",
    max_error_rate=0.01,
    stall_timeout_s=300.0,
    close_timeout_s=5.0,
)


class Numbered:
    """``n`` samples whose key and body are their number."""

    def __init__(self, n: int, labels: NDArray[Any] | None) -> None:
        self.store = MemoryStore({f"{index:04}": str(index).encode() for index in range(n)})
        self._n = n
        self._labels = labels

    @property
    def label_spec(self) -> FieldSpec | None:
        return None if self._labels is None else FieldSpec(self._labels.shape[1:], self._labels.dtype)

    def batch_labels(self, ids: NDArray[np.int64]) -> NDArray[Any] | None:
        return None if self._labels is None else self._labels[ids]

    def identity(self, index: int) -> str:
        return f"identity of {index}"

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> SampleRef:
        return SampleRef(index=index, key=f"{index:04}")


def number(data: bytes) -> NDArray[np.float32]:
    """The default decoder: the sample's number, three times."""
    return np.full(3, int(data), np.float32)


def build(
    n: int = 20,
    batch_size: int = 4,
    *,
    decode: Any = number,
    transform: Any = None,
    labels: NDArray[Any] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = False,
    weights: NDArray[np.float32] | None = None,
    class_weights: dict[int, float] | None = None,
    is_padded: bool = False,
    ledger: Ledger | None = None,
    **options: Any,
) -> Job:
    chosen = replace(OPTIONS, **options)
    samples = Numbered(n, labels)
    return Job(
        samples=samples,
        store=with_policies(samples.store, retry=Retry()),
        decoder=as_decoder(decode),
        transform=transform,
        order=EpochOrder(n, seed=seed, shuffle=shuffle),
        plan=RankPlan(n, batch_size, rank, world_size, drop_last),
        options=chosen,
        workspace=Workspace(batch_size, chosen.max_queue_size, chosen.slab_bytes),
        counters=Counters(),
        ledger=ledger or Ledger(),
        controller=Tuner(settings_of(chosen), fixed=frozenset(KNOBS), cores=2),
        weights=weights,
        class_weights=class_weights,
        is_padded=is_padded,
    )


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """``make_job(n, batch_size, **options)``; for the whole session, so that hypothesis may use it."""
    return build
