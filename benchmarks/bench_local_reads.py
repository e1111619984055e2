"""What does reading a local file cost from the event loop: aiofiles, our one hop to a thread, or inline?

    python benchmarks/bench_local_reads.py [--files 2000] [--repeats 5] [--json FILE]

Files of 64 KiB, in the page cache after the warm-up, 16 reads at a time. Inline reading blocks the loop: it is the
limit, not a choice. One figure is files a second.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import aiofiles
import uvloop
from harness import interleaved, report

import aioloader as al

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AT_ONCE = 16
BODY_BYTES = 64 * 1024


async def read_all(keys: list[str], read: Callable[[str], Awaitable[bytes]]) -> float:
    """Files a second, ``AT_ONCE`` of them in progress."""
    waiting = iter(keys)

    async def reader() -> None:
        for key in waiting:
            assert len(await read(key)) == BODY_BYTES

    started = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(reader())
    return len(keys) / (perf_counter() - started)


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--files", type=int, default=2000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    keys = [f"{index:06d}.bin" for index in range(chosen.files)]
    with tempfile.TemporaryDirectory() as folder:
        for key in keys:
            (Path(folder) / key).write_bytes(bytes(BODY_BYTES))

        async def by_aiofiles(key: str) -> bytes:
            async with aiofiles.open(Path(folder) / key, "rb") as file:
                return await file.read()

        async def inline(key: str) -> bytes:
            return (Path(folder) / key).read_bytes()

        async def one_hop() -> float:
            store = al.LocalStore().at(folder)
            try:
                return await read_all(keys, store.get)
            finally:
                await store.aclose()

        results = interleaved(
            {
                "aiofiles": lambda: uvloop.run(read_all(keys, by_aiofiles)),
                "LocalStore, one hop": lambda: uvloop.run(one_hop()),
                "inline, blocking the loop": lambda: uvloop.run(read_all(keys, inline)),
            },
            chosen.repeats,
        )
    print(report("Local files of 64 KiB, 16 at a time", results, unit="files/s", json_path=chosen.json))


if __name__ == "__main__":
    main()
