"""Loaders for which processes are wished, and what they gave."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import aioloader as al
from aioloader.tree import flatten
from tests.loader.deaths_decoders import body

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aioloader.types import Batch

N = 400
BATCH_SIZE = 8


def make_loader(decode: Any, kind: Any = al.Loader, **options: Any) -> Any:
    store = al.MemoryStore({f"{index:04d}.bin": body(index) for index in range(N)})
    data = al.from_samples([(f"{index:04d}.bin", index) for index in range(N)], store=store)
    given: dict[str, Any] = {"batch_size": BATCH_SIZE, "shuffle": True, "seed": 1, "drop_last": False, "concurrency": 8}
    return kind(data, decode=decode, **given | options)


def wish_for_processes(loader: al.Loader | al.AsyncLoader) -> None:
    """As the tuner would."""
    loader._tuner.settings = replace(loader.settings, use_multiprocessing=True, workers=2)


def is_in_processes(loader: al.Loader | al.AsyncLoader) -> bool:
    return loader._job.options.use_multiprocessing


def read_until_answered(loader: al.Loader) -> list[Any]:
    """Epochs, up to the end of the one in which processes are there or were refused."""
    seen: list[Any] = []
    wish_for_processes(loader)
    until_s = time.monotonic() + 40
    while not is_in_processes(loader) and not refusals(loader):
        assert time.monotonic() < until_s
        for batch in loader:
            seen.append(digest(batch))
            time.sleep(0.005)
    return seen


def refusals(loader: al.Loader | al.AsyncLoader) -> list[str]:
    return [change.reason for change in loader.changes if change.knob == "use_multiprocessing" and not change.value]


def digest(batch: Batch) -> tuple[int, int, str]:
    """Of all that it holds, text and nested fields too."""
    content = hashlib.sha256(batch.sample_ids.tobytes() + batch.valid.tobytes())
    for path, leaf in flatten(tuple(batch)):
        array = np.asarray(leaf)
        content.update(f"{path} {array.dtype} {array.shape} {array.tolist()}".encode())
    return batch.epoch, batch.step, content.hexdigest()


def in_threads(decode: Any, epochs: int, **options: Any) -> list[Any]:
    with make_loader(decode, use_multiprocessing=False, **options) as loader:
        return [digest(batch) for batch in loader.epochs(epochs)]


def slowly(batches: Iterable[Batch]) -> Iterator[Batch]:
    """An epoch may be over before two interpreters are there."""
    for batch in batches:
        time.sleep(0.005)
        yield batch


def count_slowly(batches: Iterable[Batch]) -> int:
    """How many there are."""
    return sum(1 for _ in slowly(batches))
