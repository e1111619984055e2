"""torch's DataLoader: worker processes, each fetching a whole batch at once in ``__getitems__``."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from runner.decoders import decoder
from runner.fetching import BatchFetcher
from runner.stacking import decoded_batch
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.job import Job


class Images(Dataset[Any]):
    """Map-style; connections are made in the worker that uses them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._fetcher: BatchFetcher | None = None
        self._decode: Any = None

    def __len__(self) -> int:
        return self._job.count

    def __getitems__(self, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        job = self._job
        if self._fetcher is None:
            self._fetcher = BatchFetcher(job.root, job.options.get("client", "files"), job.options.get("in_flight", 1))
            self._decode = decoder(job.decoder)
        bodies = self._fetcher.get_all([job.address(index) for index in ids])
        return torch.from_numpy(decoded_batch(job, self._decode, bodies)), torch.tensor(ids)


def as_it_is(batch: Any) -> Any:
    """`Images` makes batches; there is nothing to collate."""
    return batch


@contextmanager
def batches(job: Job) -> Iterator[Any]:
    """Batches of (samples, ids) as numpy views of torch's shared memory."""
    yield ((samples.numpy(), ids.numpy()) for samples, ids in made(job, "fork"))


@contextmanager
def for_fit(job: Job) -> Iterator[Any]:
    """The DataLoader itself; TensorFlow runs in this process, which must not be forked then."""
    # Else each worker imports torch for itself: 16 imports, 40 s.
    multiprocessing.set_forkserver_preload(["peers.torch.loader"])
    yield made(job, "forkserver")


def made(job: Job, context: str) -> DataLoader[Any]:
    """The DataLoader of the race."""
    return DataLoader(
        Images(job),
        batch_size=job.batch_size,
        num_workers=job.options["workers"],
        prefetch_factor=job.options["prefetch_factor"],
        collate_fn=as_it_is,
        multiprocessing_context=context,
        in_order=job.options.get("in_order", True),
    )


torch.set_num_threads(1)
np.seterr(all="warn")
