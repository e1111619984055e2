"""Settings that are tried against each other, and which of them is recommended. Pure arithmetic.

Contenders take turns, so that each round has a rate of every one, taken in the same half minute: what is judged is the
ratio of two rates of a round. The median says by how much, the interval whether it can be told at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.monitor.timeline import Settings

LEAST_ROUNDS: Final = 3
_CLEARLY: Final = 1.05
_MANY: Final = 5
"""Pairs: when all of so many say the same, it is by chance once in sixteen times."""
_FEW_CLEARLY: Final = 1.1
"""What every pair must show where they are fewer."""
_AS_FAST: Final = 0.95
_HEADROOM: Final = 2.0
"""Times the requests in flight on average: a store that slows down for a while is answered by more."""
_LEAST_CONCURRENCY, _MOST_CONCURRENCY = 8, 1024
_OUTSIDE: Final = 0.1
"""Chance that the true median lies outside of an interval, at most, where there are pairs enough."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Settings that are tried; ``name`` says what is other about them."""

    name: str
    settings: Settings
    is_frugal: bool = False
    """Asks for less, and is taken where it is as fast."""


@dataclass(slots=True)
class Lane:
    """A contender and its rates, samples a second, one a round."""

    contender: Contender
    rates: list[float] = field(default_factory=list)
    failure: str = ""
    """Why it did not run."""

    @property
    def per_s(self) -> float:
        """The median; 0 before the first round."""
        return median(self.rates) if self.rates else 0.0


@dataclass(frozen=True, slots=True)
class Against:
    """Times the rate of another: the median of so many pairs, and the interval it surely is in."""

    ratio: float
    low: float
    high: float
    pairs: int

    @property
    def is_better(self) -> bool:
        """Clearly: by more than 5 %, and not by chance."""
        return self.ratio > _CLEARLY and self.low > (1.0 if self.pairs >= _MANY else _FEW_CLEARLY)

    @property
    def is_worse(self) -> bool:
        """Clearly: by more than 5 %, and not by chance."""
        return self.ratio < _AS_FAST and self.high < 1


def contenders(
    found: Settings, wished: Settings, in_flight: float, cores: int, *, is_cpu_bound: bool
) -> list[Contender]:
    """``found`` first, then its neighbours, the most telling one first: there may be no time for all. ``in_flight``
    requests were on average; ``is_cpu_bound`` says that interpreters or cores are the limit."""
    kind = [] if (other := other_kind(found, wished, cores)) is None else [other]
    needed = max(2 ** math.ceil(math.log2(max(_HEADROOM * in_flight, 1.0))), _LEAST_CONCURRENCY)
    is_frugal = needed <= found.concurrency // 2
    requests = []
    fewer = needed if is_frugal else max(found.concurrency // 2, 1)
    if fewer < found.concurrency:
        words = "twice what is in flight" if is_frugal else "half the requests"
        settings = replace(found, concurrency=fewer)
        requests.append(Contender(f"concurrency={fewer}, {words}", settings, is_frugal=is_frugal))
    if not is_frugal and 2 * found.concurrency <= _MOST_CONCURRENCY:
        more = 2 * found.concurrency
        requests.append(Contender(f"concurrency={more}, twice the requests", replace(found, concurrency=more)))
    neighbours = [*kind, *requests] if is_cpu_bound else [*requests, *kind]
    return [Contender(f'concurrency={found.concurrency}, {_kind(found)}, as "auto" found', found), *neighbours]


def other_kind(found: Settings, wished: Settings, cores: int) -> Contender | None:
    """Processes in the place of threads, or threads in that of processes; None with one core."""
    if cores < 2:
        return None
    if wished.use_multiprocessing != found.use_multiprocessing:
        other = replace(found, use_multiprocessing=wished.use_multiprocessing, workers=wished.workers)
    else:
        other = replace(found, use_multiprocessing=not found.use_multiprocessing, workers=cores)
    return Contender(f"{_kind(other)}, the other kind", other)


def _kind(settings: Settings) -> str:
    return f"{settings.workers} {'processes' if settings.use_multiprocessing else 'threads'}"


def against(lane: Lane, base: Lane) -> Against | None:
    """``lane`` in times of ``base``, over the rounds that both have; None before `LEAST_ROUNDS`."""
    ratios = sorted(one / other for one, other in zip(lane.rates, base.rates, strict=False) if other > 0)
    if len(ratios) < LEAST_ROUNDS:
        return None
    outer = _outer(len(ratios))
    return Against(median(ratios), ratios[outer], ratios[-1 - outer], len(ratios))


def _outer(count: int) -> int:
    """How many of the least and of the greatest may be left out, and the interval still holds the median."""
    outer, chance = 0, 0.0
    while outer < count // 2 - 1:
        chance += 2 * math.comb(count, outer) / 2**count
        if chance + 2 * math.comb(count, outer + 1) / 2**count > _OUTSIDE:
            break
        outer += 1
    return outer


@dataclass(frozen=True, slots=True)
class Recommendation:
    """``settings``, why, and the samples a second they gave; 0 where they were not tried."""

    settings: Settings
    reason: str
    samples_per_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values but the settings."""
        return {"reason": self.reason, "samples_per_s": self.samples_per_s}


def recommended(lanes: Sequence[Lane]) -> Recommendation:
    """The clearly best, or the first; or one that asks for less and is as fast."""
    base, others = lanes[0], lanes[1:]
    judged = [(found, lane) for lane in others if (found := against(lane, base)) is not None]
    if not judged:
        return Recommendation(base.contender.settings, 'what "auto" came to; there was no time to check it', base.per_s)
    better = [(found.ratio, index) for index, (found, _) in enumerate(judged) if found.is_better]
    if better:
        ratio, index = max(better)
        lane = judged[index][1]
        reason = f"{lane.contender.name} gave {ratio:.2f} times the rate"
        return Recommendation(lane.contender.settings, reason, lane.per_s)
    for found, lane in judged:
        if lane.contender.is_frugal and not found.is_worse:
            reason = f"as fast ({found.ratio:.2f} times) with fewer requests in flight"
            return Recommendation(lane.contender.settings, reason, lane.per_s)
    return Recommendation(base.contender.settings, "no neighbour is clearly better", base.per_s)
