"""The engine's numbers, after "auto" has been resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OnError = Literal["raise", "skip"]
Order = Literal["strict", "window", "any"]
ORDERS = ("strict", "window", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What a stream runs with. Counts unless the name says bytes or seconds.

    ``concurrency`` requests in flight (C), ``look_ahead`` samples started ahead of the consumer
    (R, at least a batch), ``workers``
    decoders in parallel, ``max_queue_size`` finished batches. ``body_bytes`` bounds fetched bodies that wait for
    a decoder (None: the process's shared budget), ``slab_bytes`` all slabs.
    """

    concurrency: int
    look_ahead: int
    workers: int
    max_queue_size: int
    body_bytes: int | None
    slab_bytes: int
    on_error: OnError
    max_error_rate: float
    stall_timeout_s: float
    close_timeout_s: float
    order: Order = "strict"
    use_multiprocessing: bool = False
