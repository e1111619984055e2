"""The numbers with which a ``keras.utils.PyDataset`` would load as fast: Keras' words, and what they mean there.

A PyDataset whose ``__getitem__`` reads and decodes one sample after another has ``min(workers, max_queue_size + 2)``
batches under way; with ``workers=1`` and threads nothing is read ahead at all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_BEYOND: Final = 2
"""Batches under way beyond ``max_queue_size``: one is being put, one is being waited for."""
_DEFAULT_QUEUE: Final = 10
_MOST_THREADS: Final = 512


def keras_numbers(samples_per_s: float, fetch_s: float, decode_s: float, *, holds_gil: bool) -> dict[str, int | bool]:
    """What a PyDataset needs for ``samples_per_s``, where a sample takes ``fetch_s`` and ``decode_s``; {} for none."""
    if samples_per_s <= 0:
        return {}
    batches_under_way = samples_per_s * (fetch_s + decode_s)  # each is one sample's at a time
    workers = max(math.ceil(batches_under_way), 1)
    return {
        "workers": workers,
        "max_queue_size": max(workers - _BEYOND, min(_DEFAULT_QUEUE, workers)),
        "use_multiprocessing": holds_gil,
    }


def in_words(numbers: Mapping[str, int | bool], batch_size: int) -> str:
    """The numbers as a line for a reader, with what is wrong with them."""
    if not numbers:
        return ""
    text = ", ".join(f"{name}={value}" for name, value in numbers.items())
    workers = int(numbers["workers"])
    if workers > _MOST_THREADS:
        return f"{text}: more {'processes' if numbers['use_multiprocessing'] else 'threads'} than a machine runs well"
    batches = int(numbers["max_queue_size"]) + _BEYOND
    return f"{text} (a PyDataset that reads sample by sample; up to {batches} batches of {batch_size} in memory)"
