"""The plainest code that loads: aiohttp tasks, a pool of one thread a core, batches in order. For the first batch."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop
from runner.counting import Count
from runner.decoders import decoder
from runner.fetching import body_of, session
from runner.stacking import stacked

if TYPE_CHECKING:
    from runner.job import Job


def read(path: str) -> bytes:
    """A file, read where it stands: in the page cache that takes 20 µs."""
    return Path(path).read_bytes()


def epoch(job: Job) -> dict[str, Any]:
    """One epoch, counted as any competitor's."""
    decode = decoder(job.decoder)
    count = Count(job.count)

    async def load() -> None:
        loop, in_flight = asyncio.get_running_loop(), job.options["in_flight"]
        permits = asyncio.Semaphore(in_flight)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            async with session(in_flight) as client:

                async def one(index: int) -> Any:
                    async with permits:
                        address = job.address(index)
                        body = await body_of(client, address) if job.is_remote else read(address)
                    return await loop.run_in_executor(pool, decode, body, job.size)

                # Two batches and the wire's worth ahead, so that memory stays a loader's.
                ahead = in_flight + 2 * job.batch_size
                tasks = [asyncio.create_task(one(index)) for index in range(min(ahead, job.count))]
                for ids in job.batches():
                    samples = await asyncio.gather(*(tasks[index] for index in ids))
                    begun = len(tasks)
                    more = range(begun, min(begun + len(ids), job.count))
                    tasks += [asyncio.create_task(one(index)) for index in more]
                    count.add(stacked(samples), np.array(ids))
                    for index in ids:
                        tasks[index] = None  # type: ignore[call-overload]  # its sample must not live on

    uvloop.run(load())
    return count.result()
