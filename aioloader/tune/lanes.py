"""How many decode threads: as many as cores to begin with, fewer where they take turns, more where they sleep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioloader.tune.load import Load

MOST: Final = 64
_FOLLOWS, _LOSES = 0.4, 0.97
"""Of the gain that as many more would give, what counts as one; of the rate, what fewer must keep."""
_HOLD_S, _LONGEST_HOLD_S = 20.0, 320.0


class LaneSearch:
    """Told of spans in which the number of threads was the same; answers with another one, and why."""

    def __init__(self) -> None:
        self._before: tuple[int, float] | None = None  # while others are tried: the number before, and its rate
        self._clock_s = 0.0
        self._hold_until_s = 0.0
        self._hold_s = _HOLD_S

    def observe(self, load: Load) -> tuple[int, str] | None:
        """Another number of threads with its reason, or None."""
        self._clock_s += load.span.seconds
        lanes, per_s = load.settings.workers, load.span.per_s("decoded")
        if self._before is not None:
            return self._judge(load, lanes, per_s)
        if load.is_fed or not load.lanes_are_busy or self._clock_s < self._hold_until_s:
            return None
        wanted, why = _wanted(load)
        if wanted == lanes:
            return None
        self._before = lanes, per_s
        return wanted, why

    def _judge(self, load: Load, lanes: int, per_s: float) -> tuple[int, str] | None:
        assert self._before is not None
        before, before_per_s = self._before
        self._before = None
        if load.is_fed:
            return None
        gain = per_s / before_per_s if before_per_s else 1.0
        least = 1 + _FOLLOWS * (lanes / before - 1) if lanes > before else _LOSES
        if gain >= least:
            self._hold_s = _HOLD_S
            return None
        self._hold_until_s = self._clock_s + self._hold_s
        self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S)
        return before, f"{lanes} decode threads gave {gain:.2f} times the rate of {before}"


def _wanted(load: Load) -> tuple[int, str]:
    lanes, cores = load.settings.workers, load.cores
    if load.is_in_turn:
        wanted = max(math.ceil(load.lane_cores - 0.2), 1)
        return min(wanted, lanes), f"{lanes} decode threads had {load.lane_cores:.2f} cores: they take turns at the GIL"
    if load.lanes_sleep and lanes < MOST:
        return min(2 * lanes, MOST), f"{lanes} busy decode threads had {load.lane_cores:.2f} cores: they wait"
    if lanes < cores and load.has_spare_cores:
        return min(2 * lanes, cores), f"all {lanes} decode threads busy, {load.idle_cores:.1f} cores idle"
    return lanes, ""
