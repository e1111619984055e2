"""What does a sample cost that comes from the cache, and what does looking there and writing cost the others?

    python benchmarks/bench_cache.py [--objects 1000] [--repeats 5] [--latency 0ms] [--json FILE]

Objects of 64 KiB from a local bucket in a process of its own, 32 at a time; files are in the page cache. One figure is
the CPU time of this process for a sample, in microseconds; the second table has samples a second.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from harness import interleaved, report

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from aioloader.cli.units import duration_s
from aioloader.storage.cache.options import CacheOptions
from aioloader.storage.policies.stack import with_policies
from aioloader.types import SampleRef

if TYPE_CHECKING:
    from aioloader.types import InformedStore

AT_ONCE = 32
BODY_BYTES = 64 * 1024


async def read_all(store: InformedStore, samples: list[SampleRef]) -> None:
    """Every sample, ``AT_ONCE`` of them in progress."""
    waiting = iter(samples)

    async def reader() -> None:
        for sample in waiting:
            assert len(await store.get(sample.key, None, sample)) == BODY_BYTES

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(reader())


class Case:
    """One way to read; keeps the rates beside the CPU times that it returns."""

    def __init__(self, url: str, samples: list[SampleRef], cache: CacheOptions | None) -> None:
        self.url, self.samples, self.cache = url, samples, cache
        self.rates: list[float] = []

    async def _run(self) -> float:
        store = with_policies(al.HTTPStore().at(self.url), retry=al.Retry(), cache=self.cache)
        try:
            await store.get(self.samples[0].key, None, self.samples[0])  # imports, connections, the directory
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            await read_all(store, self.samples)
            rate = len(self.samples) / (time.perf_counter() - wall_s)
        finally:
            await store.aclose()  # with what is still to be written
        self.rates.append(rate)
        return 1e6 * (time.process_time() - cpu_s) / len(self.samples)

    def __call__(self) -> float:
        return uvloop.run(self._run())


class Filling(Case):
    """Each time into a new directory."""

    def __init__(self, url: str, samples: list[SampleRef], folder: Path) -> None:
        super().__init__(url, samples, None)
        self.folder, self.number = folder, 0

    def __call__(self) -> float:
        self.number += 1
        self.cache = CacheOptions(str(self.folder / str(self.number)), 10**12)
        return super().__call__()


def main() -> None:
    """Measure and print the tables."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--objects", type=int, default=1000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--latency", type=duration_s, default=0.0)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bucket").mkdir()
        samples = [
            SampleRef(index=index, key=f"{index:06d}.bin", size_bytes=BODY_BYTES) for index in range(chosen.objects)
        ]
        for sample in samples:
            (folder / "bucket" / sample.key).write_bytes(bytes(BODY_BYTES))
        with bucket_process(folder / "bucket", chosen.latency) as url:
            case = partial(Case, url, samples)
            cases = {
                "GET, no cache": case(None),
                "GET, cache full": case(CacheOptions(str(folder / "full"), 300_000)),
                "GET, and written to the cache": Filling(url, samples, folder),
                "from the cache": case(CacheOptions(str(folder / "warm"), 10**12)),
            }
            cases["from the cache"]()
            results = interleaved(cases, chosen.repeats)
    at = f"64 KiB, {AT_ONCE} at a time, {chosen.latency * 1000:g} ms latency"
    print(report(f"CPU for a sample: {at}", results, unit="µs", json_path=chosen.json))
    rates = {name: case.rates[-chosen.repeats :] for name, case in cases.items()}
    print()
    print(report(f"Samples a second: {at}", rates, unit="1/s"))


if __name__ == "__main__":
    main()
