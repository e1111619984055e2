"""How much faster is `concurrency=64` than `concurrency=1` over HTTP at 50 ms a request, with trivial decoding?

    python benchmarks/bench_concurrency_speedup.py [--latency 50ms] [--samples 640] [--repeats 5] [--json FILE]

The bucket runs in a process of its own. One figure is the samples a second of one epoch, from the first request for a
batch to the last batch; the slow case reads a part of the samples, for it would take minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

from harness import interleaved, report

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from aioloader.units import parse_seconds

BATCH_SIZE = 32
BODY_BYTES = 16 * 1024


def samples_per_second(data: al.Dataset, concurrency: int) -> float:
    """One epoch of a fresh loader; connecting counts, as it does for a user."""
    with al.Loader(data, decode=al.RawDecoder(), batch_size=BATCH_SIZE, concurrency=concurrency) as loader:
        started = perf_counter()
        count = sum(len(batch[0]) for batch in loader)
        return count / (perf_counter() - started)


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--latency", default="50ms")
    options.add_argument("--samples", type=int, default=3200)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    latency_s = parse_seconds("--latency", chosen.latency)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(chosen.samples):
            (Path(folder) / f"{index:06d}.bin").write_bytes(index.to_bytes(8, "big") * (BODY_BYTES // 8))
        with bucket_process(Path(folder), latency_s) as url:
            data = al.image_folder(url, extensions=".bin", label_mode=None)
            few = data.subset(range(2 * BATCH_SIZE))
            results = interleaved(
                {
                    "concurrency=1": partial(samples_per_second, few, 1),
                    "concurrency=8": partial(samples_per_second, data.subset(range(20 * BATCH_SIZE)), 8),
                    "concurrency=64": partial(samples_per_second, data, 64),
                },
                chosen.repeats,
            )
    title = f"Samples of {BODY_BYTES // 1024} KiB over HTTP at {chosen.latency} a request, no decoding"
    print(report(title, results, unit="samples/s", json_path=chosen.json))


if __name__ == "__main__":
    main()
