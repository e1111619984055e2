"""Single requests, one after another: the store as it is when nobody waits in line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from statistics import fmean
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

from aioloader.errors import SampleError
from aioloader.runtime.loop import run_on_loop
from aioloader.storage.policies.retry import RETRY
from aioloader.storage.policies.stack import with_policies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.dataset.samples import Dataset
    from aioloader.types import SampleRef

_MOST: Final = 200
_LEAST: Final = 4
_KEPT_BYTES: Final = 64_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sample and its bytes."""

    sample: SampleRef
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """``seconds`` that each took; the first one's apart, for it had to connect. The lengths of the bodies, and how many
    requests failed."""

    first_s: float
    seconds: Sequence[float] = field(repr=False)
    body_bytes: Sequence[int] = field(repr=False)
    failed: int = 0

    def quantile_s(self, share: float) -> float:
        """What ``share`` (above 0) of the requests took at most."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(share * len(ordered)) - 1]

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return {
            "requests": len(self.seconds),
            "failed": self.failed,
            "first_s": self.first_s,
            "p50_s": self.quantile_s(0.5),
            "p95_s": self.quantile_s(0.95),
            "p99_s": self.quantile_s(0.99),
            "mean_bytes": fmean(self.body_bytes),
            "largest_bytes": max(self.body_bytes),
        }


def request_singly(data: Dataset, seconds: float, tick: Callable[[], None]) -> tuple[Requests, list[Fetched]]:
    """Requests until ``seconds`` are over, and what came; the first is sample 0's. Raises what that one raises, and
    what no loader skips."""
    store = with_policies(data.store, retry=RETRY)
    others = Random(0).sample(range(1, len(data)), min(len(data) - 1, _MOST))
    took: list[float] = []
    lengths: list[int] = []
    kept: list[Fetched] = []
    failed = 0

    async def fetch(sample: SampleRef) -> None:
        begun = perf_counter()
        body = await store.get(sample.key, sample.byte_range, sample)
        took.append(perf_counter() - begun)
        lengths.append(len(body))
        if sum(lengths) <= _KEPT_BYTES or not kept:
            kept.append(Fetched(sample, body))

    async def fetch_all() -> None:
        nonlocal failed
        deadline = monotonic() + seconds
        await fetch(data[0])
        for index in others:
            if len(took) >= _LEAST and monotonic() > deadline:
                break
            try:
                await fetch(data[index])
            except SampleError as exc:
                if not exc.skippable:
                    raise
                failed += 1
            tick()

    run_on_loop(fetch_all(), using=data.store)
    return Requests(first_s=took[0], seconds=took[1:] or took, body_bytes=lengths, failed=failed), kept
