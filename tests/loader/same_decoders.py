"""Decoders that worker processes may see with other eyes. Light to import: children of the tests do."""

from __future__ import annotations

import itertools
import os
import threading
import time
from typing import Any

import numpy as np

from tests.loader.deaths_decoders import FOREVER_S, index_of, plus_one

scale = 1
"""Set at run time, in one process."""
_table: dict[int, int] = {}
_calls = itertools.count()


def set_up() -> None:
    """What `from_table` needs."""
    _table[0] = 3


def scaled(data: bytes) -> Any:
    return plus_one(data) * np.uint8(scale)


def scaled_label(data: bytes) -> Any:
    return plus_one(data), index_of(data) * scale


def from_table(data: bytes) -> Any:
    if not _table:
        raise RuntimeError("not set up")
    return plus_one(data) * np.uint8(_table[0])


def counted(data: bytes) -> Any:
    """Other arrays each time."""
    return plus_one(data) + np.uint8(next(_calls) % 251)


def drawn(data: bytes, sample: Any, rng: np.random.Generator) -> Any:
    return plus_one(data) + rng.integers(0, 256, 48, np.uint8)


def in_many_fields(data: bytes) -> Any:
    index = index_of(data)
    return {
        "tokens": np.arange(index % 7, dtype=np.int32) + index,
        "text": "Grüße " * (index % 4),
        "id": index,
        "bytes": plus_one(data),
    }


def scaled_text(data: bytes) -> Any:
    return {**in_many_fields(data), "text": str(scale)}


async def on_loop(data: bytes) -> Any:
    return plus_one(data)


async def scaled_on_loop(data: bytes) -> Any:
    return scaled(data)


class Level:
    """Adds what it holds."""

    def __init__(self) -> None:
        self.level = 1

    def __call__(self, data: bytes) -> Any:
        return plus_one(data) + np.uint8(self.level)


class Table:
    """One that is pickled as it lies in memory."""

    def __init__(self) -> None:
        self.table = np.asfortranarray(np.arange(2_000_000, dtype=np.uint8).reshape(2, -1))

    def __call__(self, data: bytes) -> Any:
        return self.table[1, plus_one(data)]


class IntoSlot:
    """Its ``spec()`` declares the fields, and it writes where they belong."""

    def spec(self) -> Any:
        import aioloader as al

        return al.FieldSpec((48,), np.dtype(np.uint8))

    def decode(self, data: bytes, sample: Any, rng: Any, out: Any = None) -> Any:
        if out is None:
            out = np.empty(48, np.uint8)
        np.add(np.frombuffer(data, np.uint8), np.uint8(scale), out=out)
        return out


parent: int | None = None
"""The process in which decoders are well."""
_seen: set[int] = set()
_busy = threading.Lock()


def dies_elsewhere(data: bytes) -> Any:
    if os.getpid() != parent:
        os._exit(9)
    return plus_one(data)


def hangs_elsewhere(data: bytes) -> Any:
    if os.getpid() != parent:
        time.sleep(FOREVER_S)
    return plus_one(data)


def once(data: bytes) -> Any:
    """Not twice of the same sample."""
    if index_of(data) in _seen:
        raise ValueError("seen before")
    _seen.add(index_of(data))
    return plus_one(data)


def one_at_a_time(data: bytes) -> Any:
    if not _busy.acquire(blocking=False):
        raise RuntimeError("two threads at once")
    try:
        time.sleep(0.002)
        return plus_one(data)
    finally:
        _busy.release()


def every_third_fails(data: bytes) -> Any:
    if index_of(data) % 3 == 0:
        raise ValueError("no good")
    return plus_one(data)
