"""Threads or worker processes: tried where one interpreter is the limit, kept where it pays."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioloader.tune.load import Load

_PAYS: Final = 1.05
"""Times the rate of threads: less is not worth another interpreter a core, and their memory."""
_WORTH_S: Final = 4.0
"""Seconds of work that must be left: processes take half a second of every core to start, more with heavy imports."""
_LEAST_INTERPRETER: Final = 0.75
_SPANS_BEFORE, _SPANS_AFTER = 2, 3
"""So many spans must speak for processes before they are tried, and are looked at before they are judged."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The kind and number of workers to go on with."""

    use_multiprocessing: bool
    workers: int
    reason: str


class KindChoice:
    """Told of spans in which nothing was changed. One trial an epoch at most: processes that do not pay are given up at
    once, and for the run."""

    def __init__(self) -> None:
        self._rates: list[float] = []  # samples a second of the latest spans: that speak for processes, or are theirs
        self._threads_per_s = 0.0  # while processes are on trial
        self._threads = 1
        self._tried_in: int | None = None  # the epoch
        self.refused = ""
        """Why there are no processes; "" where nothing stands against them."""

    @property
    def is_considering(self) -> bool:
        """Whether more spans of the same settings are needed to decide."""
        return bool(self._rates)

    def refuse(self, reason: str) -> None:
        """Processes cannot be had; threads it is."""
        self.refused = reason

    def postpone(self) -> None:
        """They could not be had just now; another span may speak for them again."""
        self._rates.clear()
        self._tried_in, self._threads_per_s = None, 0.0

    def observe(self, load: Load, *, epoch: int, samples_left: int) -> Wish | None:
        """What to go on with, or None."""
        if load.settings.use_multiprocessing:
            return self._judge(load)
        speaks_for = not self.refused and self._tried_in != epoch and self._one_interpreter_limits(load)
        if not speaks_for:
            self._rates.clear()
            return None
        self._rates.append(load.span.per_s("decoded"))
        if len(self._rates) < _SPANS_BEFORE:
            return None
        per_s = median(self._rates)
        workers = max(load.cores - int(load.consumer_cores), 1)
        self._rates.clear()
        if workers < 2 or samples_left < _WORTH_S * per_s:
            return None
        self._tried_in = epoch
        self._threads_per_s, self._threads = per_s, load.settings.workers
        return Wish(True, workers, _reason(load, per_s))

    def _one_interpreter_limits(self, load: Load) -> bool:
        ours = load.own_cores - load.consumer_cores
        is_limit = load.is_in_turn or load.loop_is_busy or (load.lanes_are_busy and load.settings.workers == 1)
        return load.cores > 1 and not load.is_fed and is_limit and ours >= _LEAST_INTERPRETER and load.has_spare_cores

    def _judge(self, load: Load) -> Wish | None:
        if not self._threads_per_s:
            return None
        if load.is_fed:
            self._threads_per_s = 0.0
            self._rates.clear()
            return None
        self._rates.append(load.span.per_s("decoded"))
        if len(self._rates) < _SPANS_AFTER:
            return None
        gain = median(self._rates) / self._threads_per_s
        self._threads_per_s = 0.0
        self._rates.clear()
        if gain >= _PAYS:
            return None
        self.refused = f"they gave {gain:.2f} times the rate of threads"
        return Wish(False, self._threads, f"worker processes gave {gain:.2f} times the rate of threads")


def _reason(load: Load, per_s: float) -> str:
    if load.is_in_turn:
        scaling = load.lane_cores
        return f"{load.settings.workers} threads scale {scaling:.2f}x, your decoder holds the GIL"
    if load.loop_is_busy:
        return f"the event loop is busy {load.loop:.0%} of the time at {per_s:,.0f} samples/s: more loops"
    return "one decode thread has all the GIL gives"
