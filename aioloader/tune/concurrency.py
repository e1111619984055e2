"""How many requests in flight: found by feedback, from windows of what was fetched. Pure arithmetic.

More are tried while all that are allowed are in flight and the samples a second follow: by doubling first, then by
quarters. In flight below the bound means that something else limits (the decoders, the consumer, the byte budget), and
nothing is changed. Connection trouble halves, and where as large a share fails then, it was not the crowd's fault: the
bound is what it was. Refusals (429, 503) change nothing: the pace of sending (`aioloader.storage.policies.pace`)
answers those; and so few that they cut no pace are passed over.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from aioloader.storage.policies.pace import FEW, FEW_SHARE

START: Final = 64
LEAST, MOST = 4, 1024
_AT_BOUND = 0.85
"""Of the bound in flight, on average: less, and the bound is not what limits."""
_AHEAD = 3
"""Times the bound may lie fetched and not decoded: with more there, fetching fills the look-ahead and is not short."""
_DOUBLE, _QUARTER = 2.0, 1.25
_FOLLOWS = 0.4
"""Of the gain that a latency-bound store would give: less is noise, or a limit of another kind."""
_OTHER_TIMES = 0.7
"""Of the rate that the same bound gave before: less, and the store is not what it was."""
_LEAST_SAMPLES = 48
_LEAST_S = 0.4
_ROUND_TRIPS = 3.0
_TROUBLES, _TROUBLED_SHARE = 2, 0.1
"""So many, and such a share of what was tried: a single cut line is no sign of a crowd."""
_OUTAGE_SHARE = 0.5
"""Where as many fail, asking for less is right whatever the reason."""
_LEAST_TRIED = 8
_ROUNDS = 4
"""Of all that were in flight when the bound was halved, before it is judged: what was asked before fails late."""
_HELPS = 0.6
"""Of the share that failed before: where more still fail, halving did not help."""
_TOLERATED_S = 60.0
_HOLD_S, _LONGEST_HOLD_S = 5.0, 80.0
_KEPT_CHANGES = 64


@dataclass(frozen=True, slots=True)
class Window:
    """``seconds`` of fetching: samples ``completed``, requests ``in_flight`` on average while they came, refusals by
    429 or 503 (``throttled``), and connections that failed or stood still (``troubles``). ``answered`` are the requests
    that the whole process had answered well meanwhile, as ``troubles`` are the whole process's; None: ``completed``.
    ``waiting`` samples are fetched and not decoded at its end (in threads: worker processes do not tell)."""

    seconds: float
    completed: int
    in_flight: float
    throttled: int = 0
    troubles: int = 0
    answered: int | None = None
    waiting: int = 0

    @property
    def tried(self) -> int:
        """Requests that came to an end, well or by trouble."""
        return self.troubles + (self.completed if self.answered is None else self.answered)


@dataclass(frozen=True, slots=True)
class Change:
    """At ``at_s`` (seconds since the search began) the bound became ``concurrency``, because of ``reason``."""

    at_s: float
    concurrency: int
    reason: str


@dataclass(slots=True)
class _Halving:
    """The bound before, the share that failed then, and what came since."""

    before: int
    share: float
    tried: int = 0
    troubles: int = 0

    @property
    def share_since(self) -> float:
        return self.troubles / self.tried


class ConcurrencySearch:
    """One origin's. `observe` is told of each window; ``concurrency`` is what it has come to."""

    def __init__(self, start: int = START, most: int = MOST) -> None:
        self.concurrency = start
        self.changes: deque[Change] = deque(maxlen=_KEPT_CHANGES)
        self._most = most
        self._factor = _DOUBLE
        self._usual_per_s = 0.0  # when last measured
        self._before: tuple[int, float] | None = None  # while a higher bound is tried: the one before, and its rate
        self._clock_s = 0.0
        self._hold_until_s = 0.0
        self._hold_s = _HOLD_S
        self._settling = False
        self._halving: _Halving | None = None
        self._tolerated, self._tolerated_until_s = _TROUBLED_SHARE, 0.0
        self._forget()

    @property
    def is_at_ceiling(self) -> bool:
        """Whether more were tried, and the rate did not follow."""
        return self._clock_s < self._hold_until_s or self._hold_s > _HOLD_S

    def begin_anew(self) -> None:
        """Other workers fetch from now on: rates of before say nothing."""
        self._before, self._usual_per_s, self._settling = None, 0.0, True
        self._forget()

    def _forget(self) -> None:
        self._seconds = self._in_flight_seconds = 0.0
        self._completed = self._asked = self._throttled = 0

    def observe(self, window: Window) -> int:
        """The bound from now on, after one more window of fetching."""
        self._clock_s += window.seconds
        if self._is_troubled(window):
            return self.concurrency
        asked = window.throttled + window.tried
        if _is_throttled(window.throttled, asked):
            self._forget()
            return self.concurrency
        if not window.completed and not window.in_flight:  # nobody wants anything: a pause says nothing of the store
            self._forget()
            self._settling = True
            return self.concurrency
        if self._settling:  # what was answered in it was asked under the former bound
            self._settling = False
            return self.concurrency
        self._seconds += window.seconds
        self._in_flight_seconds += window.seconds * window.in_flight
        self._completed += window.completed
        self._asked += asked
        self._throttled += window.throttled
        round_trip_s = window.in_flight * self._seconds / self._completed if self._completed else self._seconds
        if self._completed >= _LEAST_SAMPLES and self._seconds >= max(_LEAST_S, _ROUND_TRIPS * round_trip_s):
            if not _is_throttled(self._throttled, self._asked):
                self._judge(self._completed / self._seconds, self._in_flight_seconds / self._seconds, window.waiting)
            self._forget()
        return self.concurrency

    def _judge(self, per_s: float, in_flight: float, waiting: int) -> None:
        is_bound = in_flight >= _AT_BOUND * self.concurrency and waiting < _AHEAD * self.concurrency
        if self._before is not None:
            before, before_per_s = self._before
            self._before = None
            gain = per_s / before_per_s
            wanted = 1 + _FOLLOWS * (self.concurrency / before - 1)
            if gain < wanted:
                self._set(before, f"{self.concurrency} gave {gain:.2f} times the rate of {before}, not {wanted:.2f}")
                if self._factor == _DOUBLE:
                    self._factor = _QUARTER
                else:
                    self._hold_until_s = self._clock_s + self._hold_s
                    self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S)
                return
            self._hold_s = _HOLD_S
        elif self._usual_per_s and per_s < _OTHER_TIMES * self._usual_per_s:  # another latency: begin anew
            self._factor, self._hold_s, self._hold_until_s = _DOUBLE, _HOLD_S, 0.0
        self._usual_per_s = per_s
        if not is_bound or self._clock_s < self._hold_until_s or self.concurrency >= self._most:
            return
        self._before = self.concurrency, per_s
        tried = min(max(int(self.concurrency * self._factor), self.concurrency + 1), self._most)
        self._set(tried, f"all {self.concurrency} in flight at {per_s:,.0f} samples/s: trying more")

    def _is_troubled(self, window: Window) -> bool:
        """Whether this window says nothing of more requests in flight, because connections fail."""
        halving = self._halving
        if halving is not None:
            halving.tried += window.tried
            halving.troubles += window.troubles
            is_outage = halving.tried >= _LEAST_TRIED and halving.share_since >= _OUTAGE_SHARE
            if is_outage or halving.tried >= _ROUNDS * halving.before:
                self._halving = None
                self._judge_halving(halving)
            self._forget()
            return True
        tolerated = self._tolerated if self._clock_s < self._tolerated_until_s else _TROUBLED_SHARE
        tried = window.tried
        if window.troubles < _TROUBLES or window.troubles < tolerated * tried:
            return False
        self._before, self._factor = None, _DOUBLE
        self._hold_until_s = self._clock_s + self._hold_s
        self._forget()
        if self.concurrency > LEAST:
            self._halving = _Halving(self.concurrency, window.troubles / tried)
            halved = max(self.concurrency // 2, LEAST)
            self._set(halved, f"{window.troubles} of {tried} connections failed or stood still")
        return True

    def _judge_halving(self, halving: _Halving) -> None:
        share = halving.share_since
        if _HELPS * halving.share <= share < _OUTAGE_SHARE:
            self._tolerated, self._tolerated_until_s = 2 * share, self._clock_s + _TOLERATED_S
            self._set(halving.before, f"{share:.0%} of connections fail with half as many, too: not for their number")

    def _set(self, concurrency: int, reason: str) -> None:
        self.concurrency = concurrency
        self._settling = True
        self.changes.append(Change(self._clock_s, concurrency, reason))


def _is_throttled(refused: int, asked: int) -> bool:
    """Whether the pace of sending may have been cut: what is refused at random is no limit of the store's."""
    return refused >= FEW and refused >= FEW_SHARE * asked


_searches: dict[str, ConcurrencySearch] = {}
_lock = threading.Lock()


def search_of(origin: str) -> ConcurrencySearch:
    """The search for ``origin``: all loaders of the process go on from what one of them has found."""
    with _lock:
        return _searches.setdefault(origin, ConcurrencySearch())
