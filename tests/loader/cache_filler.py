"""A program that fills a cache until it is killed: ``python cache_filler.py URL N DIR SEED threads|processes``."""

from __future__ import annotations

import sys

import aioloader as al


def run(url: str, count: int, cache: str, seed: int, how: str) -> None:
    """Epoch after epoch; says ``up`` when the first batch has come."""
    data = al.from_samples([(f"{index:04d}.bin", 0) for index in range(count)], root=url)
    with al.Loader(
        data,
        decode=len,
        batch_size=8,
        shuffle=True,
        seed=seed,
        workers=2,
        use_multiprocessing=how == "processes",
        cache=cache,
        cache_size="100MB",
    ) as loader:
        for number, _ in enumerate(loader.epochs(100_000)):
            if number == 0:
                print("up", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
