"""What aioloader saw of itself in a run: its sentence, how long requests took, what each part did over time."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aioloader.loader import Loader

_MOST_LOOKS = 48
_FIRST_INTERVAL_S = 0.02


class Watch:
    """Looks at a loader's sums, more seldom the longer the run; any two looks make a rate."""

    def __init__(self) -> None:
        self._interval_s = _FIRST_INTERVAL_S
        self._started = perf_counter()
        self._due = 0.0
        self._looks: list[dict[str, float]] = []

    def look(self, loader: Loader) -> None:
        """At the sums, unless it is too early."""
        now = perf_counter() - self._started
        if now >= self._due:
            self._note(now, loader)

    def _note(self, now: float, loader: Loader) -> None:
        if len(self._looks) == _MOST_LOOKS:
            self._looks = self._looks[::2]
            self._interval_s *= 2
        self._due = now + self._interval_s
        stats = loader.stats()
        self._looks.append(
            {
                "at_s": now,
                "samples": stats.samples,
                "fetch_s": stats.fetch.total_s,
                "decode_s": stats.decode.total_s,
                "data_wait_s": stats.data_wait_s,
            }
        )

    def result(self, loader: Loader) -> dict[str, Any]:
        """JSON values; ``looks`` are sums of seconds and samples, ``fetch_bins`` (from, to, requests)."""
        self._note(perf_counter() - self._started, loader)  # a short run has two looks, too
        stats = loader.stats()
        verdict = getattr(loader, "verdict", None)
        sentence = verdict().sentence if verdict is not None else loader.report().partition("\n")[0]
        return {
            "sentence": sentence,
            "fetch_p50_s": stats.fetch.p50_s,
            "fetch_p99_s": stats.fetch.p99_s,
            "fetch_bins": [(one.low, one.high, one.count) for one in stats.fetch.bins],
            "looks": self._looks,
        }
