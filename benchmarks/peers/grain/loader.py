"""Grain: a data source read by its own threads, by the sample or by the batch, in this process or in workers."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grain
import numpy as np
from runner.decoders import decoder
from runner.fetching import BatchFetcher, ThreadConnections
from runner.stacking import decoded_batch, stacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from runner.job import Job


class Lazy:
    """Made at first use, in the process that uses it; Grain pickles its sources for workers."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._made: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"job": self.job, "_made": {}}

    @property
    def decode(self) -> Any:
        """The decoder."""
        if "decode" not in self._made:
            self._made["decode"] = decoder(self.job.decoder)
        return self._made["decode"]

    @property
    def connections(self) -> ThreadConnections:
        """One connection a thread."""
        return self._made.setdefault("connections", ThreadConnections(self.job.root))

    @property
    def fetcher(self) -> BatchFetcher:
        """Many connections on one loop."""
        if "fetcher" not in self._made:
            self._made["fetcher"] = BatchFetcher(self.job.root, "aiohttp", self.job.options["in_flight"])
        return self._made["fetcher"]


class Samples(Lazy):
    """A random-access source of (sample, id)."""

    def __len__(self) -> int:
        return self.job.count

    def __getitem__(self, index: Any) -> tuple[NDArray[np.uint8], int]:
        address = self.job.address(int(index))
        body = self.connections.get(address) if self.job.is_remote else Path(address).read_bytes()
        return self.decode(body, self.job.size), int(index)


class Batches(Lazy):
    """A random-access source of whole batches, each fetched together."""

    def __len__(self) -> int:
        return len(self.job.batches())

    def __getitem__(self, index: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        ids = self.job.batches()[int(index)]
        bodies = self.fetcher.get_all([self.job.address(number) for number in ids])
        return decoded_batch(self.job, self.decode, bodies), np.array(ids)


def collated(samples: Sequence[tuple[NDArray[np.uint8], int]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Samples to a batch."""
    return stacked([sample for sample, _ in samples]), np.array([index for _, index in samples])


@contextmanager
def batches(job: Job) -> Iterator[Any]:
    """Batches of (samples, ids)."""
    options = job.options
    reading = grain.ReadOptions(num_threads=options["threads"], prefetch_buffer_size=options["buffer"])
    if options["by"] == "batch":
        dataset = grain.MapDataset.source(Batches(job)).to_iter_dataset(reading)
    else:
        dataset = grain.MapDataset.source(Samples(job)).to_iter_dataset(reading)
        dataset = dataset.batch(job.batch_size, batch_fn=collated)
    if options["workers"]:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(options["workers"], per_worker_buffer_size=4))
    yield dataset


for_fit = batches
