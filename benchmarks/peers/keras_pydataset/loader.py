"""Keras' PyDataset: as its guide writes it, or with each batch fetched together, in threads or processes."""

from __future__ import annotations

import http.client
import math
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import keras
import numpy as np
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from runner.decoders import decoder
from runner.fetching import BatchFetcher
from runner.stacking import decoded_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from runner.job import Job


class Batches(keras.utils.PyDataset):
    """A batch is fetched as ``options["fetch"]`` says: "together", or "one by one"."""

    def __init__(self, job: Job, **knobs: Any) -> None:
        super().__init__(**knobs)
        self._job = job
        self._decode = decoder(job.decoder)
        # Made now, before threads could make several; a forked worker makes its own, for threads are not forked.
        self._fetchers = {os.getpid(): self._new_fetcher()}

    def _new_fetcher(self) -> BatchFetcher:
        return BatchFetcher(self._job.root, self._job.options["client"], self._job.options["in_flight"])

    def __len__(self) -> int:
        return math.ceil(self._job.count / self._job.batch_size)

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        job = self._job
        ids = list(range(step * job.batch_size, min((step + 1) * job.batch_size, job.count)))
        if os.getpid() not in self._fetchers:
            self._fetchers[os.getpid()] = self._new_fetcher()
        bodies = self._fetchers[os.getpid()].get_all([job.address(index) for index in ids])
        return decoded_batch(job, self._decode, bodies), np.array(ids)


class AsTheGuideWritesIt(keras.utils.PyDataset):
    """One sample after another, a request each, ``workers`` and ``max_queue_size`` at Keras' defaults."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job
        self._decode = decoder(job.decoder)

    def __len__(self) -> int:
        return math.ceil(self._job.count / self._job.batch_size)

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        job = self._job
        ids = list(range(step * job.batch_size, min((step + 1) * job.batch_size, job.count)))
        return np.array([self._decode(fetched(job.address(index)), job.size) for index in ids]), np.array(ids)


def fetched(address: str) -> bytes:
    """One request, one connection; or one file."""
    if not address.startswith("http"):
        return Path(address).read_bytes()
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", parts.path)
    body = connection.getresponse().read()
    connection.close()
    return body


@contextmanager
def for_fit(job: Job) -> Iterator[Any]:
    """The PyDataset, which ``fit`` takes."""
    if job.options["fetch"] == "one by one":
        yield AsTheGuideWritesIt(job)
    else:
        knobs = {name: job.options[name] for name in ("workers", "use_multiprocessing", "max_queue_size")}
        yield Batches(job, **knobs)


@contextmanager
def batches(job: Job) -> Iterator[Any]:
    """Batches of (samples, ids) through Keras' adapter, by the way that makes no tensors of them."""
    with for_fit(job) as dataset:
        adapter = PyDatasetAdapter(dataset, shuffle=False)
        adapter.on_epoch_begin()
        yield first(adapter.get_numpy_iterator(), len(dataset))
        adapter.on_epoch_end()


def first(batches: Any, count: int) -> Iterator[Any]:
    """``count`` batches: the adapter's own iterator goes on into the next epoch."""
    for _ in range(count):
        yield next(batches)
