"""The engine's numbers, after "auto" has been resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OnError = Literal["raise", "skip"]
Order = Literal["strict", "window", "any"]
ORDERS = ("strict", "window", "any")


AHEAD = 8
"""Samples begun ahead of the consumer for each request in flight. Behind one slow sample as many as are in flight would
soon be all there are: at p50/p99 of 40/400 ms, late requests made twice, 4 times as many gave 0.82 of the rate of
completion order, 8 times 0.98 (docs/notes/hedging.md)."""


def look_ahead(concurrency: int, batch_size: int) -> int:
    """Samples begun ahead of the consumer: `AHEAD` times as many as requests, and two batches at least."""
    return max(AHEAD * concurrency, 2 * batch_size)


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
