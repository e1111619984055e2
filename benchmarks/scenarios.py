"""Twelve situations of a loader, the settings to compare in each, and what limits it: written beforehand."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

OBJECT_BYTES = 16 << 10
N_OBJECTS = 4096
BATCH_SIZE = 32
DECODE_S = 0.004
SLOW_PER_S = 100.0
"""Samples a second of the slow consumer."""

Knobs = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """``fixed`` knobs with the limits that are right for them, and those that are right once "auto" has settled; two
    where they lie within a fifth of each other."""

    latency_s: float
    decode: str
    is_slow: bool
    fixed: Knobs
    fixed_limits: tuple[str, ...]
    auto_limits: tuple[str, ...]

    @property
    def name(self) -> str:
        """For a table."""
        return f"{self.latency_s * 1000:.0f} ms, {self.decode}, {'slow' if self.is_slow else 'fast'} consumer"

    @property
    def step_s(self) -> float:
        """What the consumer takes for a batch."""
        return BATCH_SIZE / SLOW_PER_S if self.is_slow else 0.0


def _knobs(concurrency: int, workers: int = 2, *, processes: bool = False) -> Knobs:
    return {"concurrency": concurrency, "workers": workers, "use_multiprocessing": processes, "max_queue_size": 8}


WIRE, LINE, FETCH = "network latency", "network bandwidth", "fetch CPU"
DECODE, GIL, CONSUMER = "decode CPU", "GIL", "consumer"

SCENARIOS = (
    # One loop makes some 13,000 requests a second, 16 in flight at 1 ms are 16,000; the bucket has the same two cores.
    Scenario(0.001, "trivial", False, _knobs(16), (FETCH, WIRE), (FETCH, LINE)),
    # One thread decodes 250 a second, two of them 500.
    Scenario(0.001, "GIL-free", False, _knobs(16, 1), (DECODE,), (DECODE,)),
    # Two threads decode 250 a second, two processes 500.
    Scenario(0.001, "GIL-bound", False, _knobs(16), (GIL,), (DECODE,)),
    # 16 in flight at 30 ms are 533 a second.
    Scenario(0.030, "trivial", False, _knobs(16), (WIRE,), (FETCH, LINE)),
    # 4 in flight at 30 ms are 133 a second.
    Scenario(0.030, "GIL-free", False, _knobs(4), (WIRE,), (DECODE,)),
    Scenario(0.030, "GIL-bound", False, _knobs(64), (GIL,), (DECODE,)),
    # 64 in flight at 200 ms are 320 a second; 1,024, which is the most "auto" tries, are 5,120.
    Scenario(0.200, "trivial", False, _knobs(64), (WIRE,), (FETCH, WIRE)),
    Scenario(0.200, "GIL-free", False, _knobs(16), (WIRE,), (DECODE,)),
    # 16 in flight at 200 ms are 80 a second.
    Scenario(0.200, "GIL-bound", False, _knobs(16), (WIRE,), (DECODE,)),
    Scenario(0.001, "GIL-free", True, _knobs(16), (CONSUMER,), (CONSUMER,)),
    Scenario(0.030, "GIL-free", True, _knobs(16), (CONSUMER,), (CONSUMER,)),
    # 8 in flight at 200 ms are 40 a second; the consumer would take 100.
    Scenario(0.200, "GIL-free", True, _knobs(8), (WIRE,), (CONSUMER,)),
)

CELLS = (
    *(
        _knobs(concurrency, workers, processes=processes)
        for concurrency in (16, 64, 256)
        for workers, processes in ((1, False), (2, False), (2, True))
    ),
    _knobs(1024),
    _knobs(1024, processes=True),
)
"""The coarse sweep."""


@dataclass(frozen=True)
class Calibration:
    """Rounds of each decoder that take `DECODE_S` on this machine."""

    hash_rounds: int
    loop_rounds: int = field(default=0)


def calibrated() -> Calibration:
    """CPU time on one core, the least of several tries."""
    hashes, loops = 20_000, 100_000
    hash_s = min(_timed(lambda: _hash(hashes)) for _ in range(5))
    loop_s = min(_timed(lambda: _loop(loops)) for _ in range(5))
    return Calibration(round(hashes * DECODE_S / hash_s), round(loops * DECODE_S / loop_s))


def _timed(work: Callable[[], object]) -> float:
    began_s = time.thread_time()
    work()
    return time.thread_time() - began_s


def _hash(rounds: int) -> None:
    hashlib.pbkdf2_hmac("sha256", b"aioloader", b"benchmark", rounds)  # OpenSSL, without the GIL


def _loop(rounds: int) -> None:
    total = 0
    for number in range(rounds):
        total += number


def decoder(kind: str, rounds: Calibration) -> Callable[[bytes], NDArray[Any]]:
    """A decoder that worker processes can be sent."""

    def number(data: bytes) -> NDArray[Any]:
        return np.frombuffer(data, np.int64, count=1)

    def without_gil(data: bytes) -> NDArray[Any]:
        _hash(rounds.hash_rounds)
        return number(data)

    def with_gil(data: bytes) -> NDArray[Any]:
        _loop(rounds.loop_rounds)
        return number(data)

    return {"trivial": number, "GIL-free": without_gil, "GIL-bound": with_gil}[kind]
