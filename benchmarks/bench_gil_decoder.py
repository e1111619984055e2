"""What do worker processes bring where the decoder holds the GIL? And are the batches the same?

    python benchmarks/bench_gil_decoder.py [--samples 600] [--repeats 7] [--json FILE]

The decoder is pure Python and takes about 4 ms; bodies come from the local disk. Both loaders have one warm-up batch:
starting interpreters is not what is asked here. A third case is the decoder alone, in one thread without any loader.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from harness import interleaved, report

import aioloader as al

BATCH_SIZE = 16
LOOPS = 56_000


def pure_python(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """About 4 ms that never let go of the GIL, and a result that depends on the body."""
    total = data[0]
    for number in range(LOOPS):
        total = (total * 31 + number) & 0xFFFF
    return np.array([total, data[0], len(data)])


def samples_per_second(data: al.Dataset, digests: set[str], *, use_multiprocessing: bool) -> float:
    """One epoch after its first batch."""
    digest = hashlib.sha256()
    with al.Loader(
        data, decode=pure_python, batch_size=BATCH_SIZE, shuffle=True, seed=0, use_multiprocessing=use_multiprocessing
    ) as loader:
        batches = iter(loader)
        digest.update(next(batches)[0].tobytes())
        started = perf_counter()
        count = 0
        for batch in batches:
            digest.update(batch[0].tobytes())
            count += len(batch[0])
        taken_s = perf_counter() - started
    digests.add(digest.hexdigest())
    return count / taken_s


def alone(bodies: list[bytes]) -> float:
    """The decoder in a plain loop."""
    started = perf_counter()
    for body in bodies:
        pure_python(body)
    return len(bodies) / (perf_counter() - started)


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--samples", type=int, default=600)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    digests: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(chosen.samples):
            (Path(folder) / f"{index:06d}.bin").write_bytes(bytes([index % 256]) * 1000)
        data = al.image_folder(folder, extensions=".bin", label_mode=None)
        bodies = [path.read_bytes() for path in sorted(Path(folder).iterdir())[:200]]
        results = interleaved(
            {
                "threads": partial(samples_per_second, data, digests, use_multiprocessing=False),
                "processes": partial(samples_per_second, data, digests, use_multiprocessing=True),
                "the decoder alone, one thread": partial(alone, bodies),
            },
            chosen.repeats,
        )
    print(
        report("A decoder in pure Python that holds the GIL for 4 ms", results, unit="samples/s", json_path=chosen.json)
    )
    print(f"the same bytes in all batches of all runs: {len(digests) == 1}")


if __name__ == "__main__":
    main()
