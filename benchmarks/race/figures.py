"""Pure arithmetic of a race: medians, quartiles, paired ratios and how sure a median is."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIDENCE = 0.9
LEAST_RATIO = 0.97
"""What counts as tied, where the interval does not hold 1 anyway."""


@dataclass(frozen=True)
class Spread:
    """Quartiles and median of ``rounds`` figures."""

    low: float
    median: float
    high: float
    rounds: int


def spread(figures: Sequence[float]) -> Spread:
    """Quartiles of at least one figure; of one figure it is three times itself."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0], 1)
    low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(low, middle, high, len(figures))


def median_interval(figures: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The narrowest pair of order statistics that holds the true median with ``confidence`` (sign test).

    With too few figures for that it is the least and the most: 4 give 87.5 %, 3 give 75 %.
    """
    ordered, n = sorted(figures), len(figures)
    outside = 0.0
    for inner in range(n // 2):
        outside += 2 * comb(n, inner) / 2**n
        if 1 - outside < confidence:
            return ordered[max(inner - 1, 0)], ordered[n - 1 - max(inner - 1, 0)]
    last = max((n - 1) // 2 - 1, 0) if n > 2 else 0
    return ordered[last], ordered[n - 1 - last]


@dataclass(frozen=True)
class Ratio:
    """Ours over theirs, round by round."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def verdict(self) -> str:
        """ "first", "tied" or "behind": by the median, and by whether its interval holds 1."""
        if self.low > 1:
            return "first"
        return "tied" if self.median >= LEAST_RATIO or self.high >= 1 else "behind"


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Ratio | None:
    """The ratio over the rounds (the keys) that both have; None without any."""
    ratios = [ours[number] / theirs[number] for number in sorted(ours.keys() & theirs.keys())]
    if not ratios:
        return None
    low, high = median_interval(ratios)
    return Ratio(statistics.median(ratios), low, high, len(ratios))


def limit_per_s(cores: int, core_microseconds: Sequence[float]) -> float:
    """Samples a second that ``cores`` reach when each sample takes these core-microseconds and nothing else."""
    return cores * 1e6 / sum(core_microseconds)
