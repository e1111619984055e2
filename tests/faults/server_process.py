"""A `FaultServer` in a process of its own: what it does takes neither the client's memory nor its interpreter's lock.

The child is told what to serve as JSON on its standard input, prints its address, and its counts when that input ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aioloader.testing import FaultServer, RandomFaults, TokenBucket
from tests.faults.drill import bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Served:
    """What the child serves: `bodies` of the seed, and how badly."""

    seed: int
    count: int
    sizes: tuple[int, ...] = (0, 100, 5000, 200_000)
    share: float = 0.0
    kinds: tuple[str, ...] = ()
    latency_s: float = 0.0
    latency_p99_s: float | None = None
    per_s: float | None = None
    burst: float = 50.0

    def objects(self) -> dict[str, bytes]:
        """What is at each key, as the client expects it."""
        return bodies(self.seed, self.count, tuple(self.sizes))


@dataclass
class Child:
    """The running child: ``url``, and what it counted once it has ended."""

    url: str
    counts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def server_process(served: Served) -> Iterator[Child]:
    """The child, for as long as the context lasts."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.server_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(served)) + "\n")
        process.stdin.flush()
        child = Child(process.stdout.readline().strip())
        assert child.url, "the server did not start"
        try:
            yield child
        finally:
            process.stdin.close()
            child.counts.update(json.loads(process.stdout.readline() or "{}"))
            process.wait(10)


async def _serve(served: Served) -> None:
    server = FaultServer(
        {"data/" + key: body for key, body in served.objects().items()},
        luck=RandomFaults(share=served.share, kinds=tuple(served.kinds), seed=served.seed) if served.share else None,
        bucket=None if served.per_s is None else TokenBucket(served.per_s, served.burst),
        latency_s=served.latency_s,
        latency_p99_s=served.latency_p99_s,
        seed=served.seed,
    )
    async with server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    counts = {
        "requests": sum(server.requests.values()),
        "faulted": server.faulted,
        "refused": server.refused,
        "connections": server.connections,
        "in_flight_peak": server.in_flight_peak,
    }
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(Served(**json.loads(sys.stdin.readline()))))
