"""What do slow requests cost, in strict order? p50/p99 of 40/400 ms, 64 requests in flight, no decoding.

    python benchmarks/bench_tail.py [--latency 40ms] [--p99 400ms] [--samples 6400] [--repeats 5] [--json FILE]

The first case is what a loop of `asyncio.gather` over each batch does: fetch a batch, wait for its slowest, go on.
Then strict order (with and without asking late requests twice), and the order of completion. The bucket runs in a
process of its own; each round draws other latencies. One figure is the samples a second of one epoch.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from harness import interleaved, report

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from aioloader.runtime.loop_thread import new_loop
from aioloader.units import parse_seconds

if TYPE_CHECKING:
    from aioloader.engine.options import Order

IN_FLIGHT = 64
BODY_BYTES = 16 * 1024


def batch_then_drain(url: str, n_samples: int) -> float:
    """Fetch `IN_FLIGHT` samples, wait for all of them, fetch the next."""

    async def epoch() -> float:
        store = al.HTTPStore().at(url)
        started = perf_counter()
        for first in range(0, n_samples, IN_FLIGHT):
            numbers = range(first, min(first + IN_FLIGHT, n_samples))
            await asyncio.gather(*(store.get(f"{number:06d}.bin") for number in numbers))
        elapsed_s = perf_counter() - started
        await store.aclose()
        return n_samples / elapsed_s

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(epoch())


def loader_rate(data: al.Dataset, order: Order, retry: al.Retry, told: dict[str, list[str]], name: str) -> float:
    """One epoch of a fresh loader."""
    with al.Loader(
        data, decode=al.RawDecoder(), batch_size=IN_FLIGHT, concurrency=IN_FLIGHT, order=order, retry=retry
    ) as loader:
        before = loader.stats().engine.requests.hedged  # by the loaders before, of the same origin
        started = perf_counter()
        count = sum(len(batch[0]) for batch in loader)
        elapsed_s = perf_counter() - started
        hedged = loader.stats().engine.requests.hedged - before
        told.setdefault(name, []).append(f"{hedged / count:.1%}")
        return count / elapsed_s


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--latency", default="40ms")
    options.add_argument("--p99", default="400ms")
    options.add_argument("--samples", type=int, default=6400)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    latency_s = parse_seconds("--latency", chosen.latency)
    told: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(chosen.samples):
            (Path(folder) / f"{index:06d}.bin").write_bytes(index.to_bytes(8, "big") * (BODY_BYTES // 8))
        with bucket_process(Path(folder), latency_s, "--latency-p99", chosen.p99) as url:
            data = al.image_folder(url, extensions=".bin", label_mode=None)
            once, twice = al.Retry(hedge_share=0.0), al.Retry()
            cases: dict[str, tuple[Order, al.Retry]] = {
                "strict, late ones twice": ("strict", twice),
                "strict": ("strict", once),
                "any, late ones twice": ("any", twice),
                "any": ("any", once),
            }
            results = interleaved(
                {
                    "a batch, then drain": partial(batch_then_drain, url, chosen.samples),
                    **{
                        name: partial(loader_rate, data, order, retry, told, name)
                        for name, (order, retry) in cases.items()
                    },
                },
                chosen.repeats,
            )
    title = f"{IN_FLIGHT} in flight, {BODY_BYTES // 1024} KiB at p50/p99 {chosen.latency}/{chosen.p99}, no decoding"
    print(report(title, results, unit="samples/s", json_path=chosen.json))
    print("requests made twice, of all, by round:", ", ".join(told["strict, late ones twice"]))
    for free in ("any", "any, late ones twice"):
        pairs = zip(results["strict, late ones twice"], results[free], strict=True)
        print(f"strict, late ones twice, over {free}: median {median(mine / other for mine, other in pairs):.3f}")


if __name__ == "__main__":
    main()
