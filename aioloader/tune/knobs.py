"""The knobs a user may set, checked, and what "auto" stands for until measurement sets it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aioloader.engine.options import ORDERS, EngineOptions, OnError, Order, look_ahead
from aioloader.errors import OptionError
from aioloader.monitor.timeline import Settings
from aioloader.runtime.machine import available_bytes, usable_cores
from aioloader.tune.queue import START as QUEUE_START
from aioloader.units import parse_bytes

Auto = Literal["auto"]

KNOBS = ("concurrency", "workers", "use_multiprocessing", "max_queue_size")
"""What measurement may move."""
LOCAL_CONCURRENCY = 16
_MOST_SLAB_BYTES = 2_000_000_000
_MEMORY_SHARE = 4
"""Batches take at most one part in four of the memory that is available when the loader is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What the user passed; see `aioloader.Loader` for the meanings."""

    batch_size: int
    concurrency: int | Auto
    workers: int | Auto
    use_multiprocessing: bool | Auto
    max_queue_size: int | Auto
    order: Order
    on_error: OnError
    max_error_rate: float
    max_memory: int | str | Auto
    stall_timeout_s: float
    close_timeout_s: float

    def __post_init__(self) -> None:
        for name in ("batch_size", "concurrency", "workers", "max_queue_size"):
            value = _checked_count(name, getattr(self, name), auto=name != "batch_size")
            object.__setattr__(self, name, value)  # a numpy integer becomes an int
        # Not by equality: 1 equals True, and would mean threads below.
        if self.use_multiprocessing != "auto" and not isinstance(self.use_multiprocessing, bool):
            raise OptionError("use_multiprocessing", repr(self.use_multiprocessing), 'True, False or "auto"')
        if self.order not in ORDERS:
            raise OptionError("order", repr(self.order), '"strict", "window" or "any"')
        if self.on_error not in ("raise", "skip"):
            raise OptionError("on_error", repr(self.on_error), '"raise" or "skip"')
        if not _is_number(self.max_error_rate) or not 0 <= self.max_error_rate <= 1:
            raise OptionError("max_error_rate", repr(self.max_error_rate), "a share from 0 to 1, such as 0.01")
        for name in ("stall_timeout_s", "close_timeout_s"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value <= threading.TIMEOUT_MAX:
                raise OptionError(name, repr(value), "a finite number of seconds, more than 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked_count(option: str, value: object, *, auto: bool) -> int | str:
    if auto and isinstance(value, str) and value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise OptionError(option, repr(value), "a whole number of at least 1" + (' or "auto"' if auto else ""))
    return int(value)


def resolve(knobs: Knobs, *, found_concurrency: int | None) -> EngineOptions:
    """The engine's numbers. A number the user gave is kept; ``found_concurrency`` is what feedback has come to so far,
    None for a store without latency.

    Raises `OptionError` for a ``max_memory`` that is no size.
    """
    concurrency = (found_concurrency or LOCAL_CONCURRENCY) if knobs.concurrency == "auto" else knobs.concurrency
    if knobs.max_memory == "auto":
        body_bytes, slab_bytes = None, min(available_bytes() // _MEMORY_SHARE, _MOST_SLAB_BYTES)
    else:
        memory = parse_bytes("max_memory", knobs.max_memory)
        body_bytes, slab_bytes = memory // 4, memory - memory // 4
    return EngineOptions(
        concurrency=concurrency,
        # Ordered delivery behind one slow sample needs more started than in flight: 4C keeps the wire busy.
        look_ahead=look_ahead(concurrency, knobs.batch_size),
        workers=usable_cores() if knobs.workers == "auto" else knobs.workers,
        max_queue_size=QUEUE_START if knobs.max_queue_size == "auto" else knobs.max_queue_size,
        body_bytes=body_bytes,
        slab_bytes=slab_bytes,
        on_error=knobs.on_error,
        max_error_rate=knobs.max_error_rate,
        stall_timeout_s=knobs.stall_timeout_s,
        close_timeout_s=knobs.close_timeout_s,
        order=knobs.order,
        use_multiprocessing=knobs.use_multiprocessing is True,
    )


def settings_of(options: EngineOptions) -> Settings:
    """The four knobs that "auto" may move."""
    return Settings(
        concurrency=options.concurrency,
        workers=options.workers,
        use_multiprocessing=options.use_multiprocessing,
        max_queue_size=options.max_queue_size,
    )


def fixed_knobs(knobs: Knobs) -> frozenset[str]:
    """Those of the four that the user has set."""
    return frozenset(name for name in KNOBS if getattr(knobs, name) != "auto")


def describe(settings: Settings, fixed: frozenset[str]) -> dict[str, str]:
    """Each knob's value for the report; ``"(auto)"`` follows what the user left open."""
    return {name: f"{getattr(settings, name)}{'' if name in fixed else ' (auto)'}" for name in KNOBS}
