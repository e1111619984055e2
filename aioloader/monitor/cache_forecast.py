"""How much of the next epoch comes from the cache, told from the last."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioloader.monitor.stats import CacheCounts


class CacheForecast:
    """An epoch looks for each sample once, and a run evicts nothing: what one found or wrote, the next will find."""

    def __init__(self, epoch_samples: int) -> None:
        self._epoch_samples = epoch_samples
        self._begins: deque[CacheCounts] = deque(maxlen=2)

    def begin(self, counts: CacheCounts) -> None:
        """An epoch begins, with these counts so far."""
        self._begins.append(replace(counts))

    def share(self, counts: CacheCounts) -> float | None:
        """Of the next epoch's samples, 0 to 1; None before anything was looked up."""
        for begin in reversed(self._begins):
            if counts.lookups - begin.lookups >= self._epoch_samples / 2:
                break
        else:
            begin = replace(self._begins[0]) if self._begins else replace(counts)
        lookups = counts.lookups - begin.lookups
        if not lookups:
            return None
        return min((counts.hits + counts.written - begin.hits - begin.written) / lookups, 1.0)
