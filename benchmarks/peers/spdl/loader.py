"""SPDL: an async fetch stage and a threaded decode stage, by the sample or by the batch."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop
from runner.decoders import decoder
from runner.fetching import body_of, session
from runner.stacking import decoded_batch, stacked
from spdl.pipeline import PipelineBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from runner.job import Job

    Numbered = tuple[list[int], list[bytes]]


class Fetch:
    """One aiohttp session, opened on SPDL's loop by the first call."""

    def __init__(self, job: Job, connections: int) -> None:
        self._job = job
        self._connections = connections
        self._client: Any = None

    async def one(self, index: int) -> tuple[int, bytes]:
        """A sample's bytes."""
        if self._client is None:
            self._client = session(self._connections)
        return index, await body_of(self._client, self._job.address(index))

    async def batch(self, ids: list[int]) -> Numbered:
        """All bytes of a batch, gathered."""
        if self._client is None:
            self._client = session(self._connections)
        return ids, await asyncio.gather(*(body_of(self._client, self._job.address(index)) for index in ids))

    def read_batch(self, ids: list[int]) -> Numbered:
        """The same from the disk, in a thread."""
        return ids, [Path(self._job.address(index)).read_bytes() for index in ids]


def by_batch(job: Job, options: dict[str, Any]) -> PipelineBuilder[Any, Any]:
    """Batches in, batches out: the least hand-overs."""
    decode = decoder(job.decoder)
    fetch = Fetch(job, options.get("connections", 0))

    def decode_batch(fetched: Numbered) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return decoded_batch(job, decode, fetched[1]), np.array(fetched[0])

    builder = PipelineBuilder().add_source(job.batches())
    if job.is_remote:
        builder.pipe(fetch.batch, concurrency=options["batches_in_flight"])
        return builder.pipe(decode_batch, concurrency=options["decode_threads"])
    return builder.pipe(lambda ids: decode_batch(fetch.read_batch(ids)), concurrency=options["decode_threads"])


def by_sample(job: Job, options: dict[str, Any]) -> PipelineBuilder[Any, Any]:
    """As SPDL's own examples have it: fetch and decode by the sample, then aggregate."""
    decode = decoder(job.decoder)
    fetch = Fetch(job, options.get("connections", 0))

    def decode_one(fetched: tuple[int, bytes]) -> tuple[int, NDArray[np.uint8]]:
        return fetched[0], decode(fetched[1], job.size)

    def collate(samples: list[tuple[int, NDArray[np.uint8]]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return stacked([sample for _, sample in samples]), np.array([index for index, _ in samples])

    builder = PipelineBuilder().add_source(range(job.count))
    if job.is_remote:
        builder.pipe(fetch.one, concurrency=options["samples_in_flight"])
        builder.pipe(decode_one, concurrency=options["decode_threads"])
    else:
        builder.pipe(
            lambda index: decode_one((index, Path(job.address(index)).read_bytes())),
            concurrency=options["decode_threads"],
        )
    return builder.aggregate(job.batch_size).pipe(collate)


@contextmanager
def batches(job: Job) -> Iterator[Any]:
    """Batches of (samples, ids), in the order of completion."""
    # SPDL makes its loop by the policy, in a thread of its own.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    build = by_batch if job.options["by"] == "batch" else by_sample
    pipeline = build(job, job.options).add_sink(4).build(num_threads=job.options["decode_threads"] + 1)
    with pipeline.auto_stop():
        yield pipeline.get_iterator(timeout=60)


@contextmanager
def for_fit(job: Job) -> Iterator[Any]:
    """A generator: SPDL has no Keras adapter."""
    with batches(job) as pipeline:
        yield ((samples, ids) for samples, ids in pipeline)
