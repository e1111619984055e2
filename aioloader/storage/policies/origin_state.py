"""What a process remembers of one origin, whichever stores and loaders ask it: its pace, its failures, its counts."""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

from aioloader.monitor.stats import RequestCounts
from aioloader.storage.policies.pace import Pace
from aioloader.storage.policies.retry import RetryBudget
from aioloader.storage.policies.tails import Allowance, Tails

_BUDGET = 128.0


class OriginState:
    """One origin's; changed on the loop that fetches alone."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.budget = RetryBudget(_BUDGET)
        self.tails = Tails()
        self.allowance = Allowance()
        self.counts = RequestCounts()
        """Since the process began."""
        self.attempts: dict[str, int] = {}
        """By key, of those that are being asked for once more: which attempt it is."""
        self.has_answered = False
        """Whether it ever gave an object: an address that never did is more likely wrong than out of order."""

    def answered(self, now_s: float) -> None:
        """It gave what was asked for."""
        self.has_answered = True
        self.counts.answered += 1
        self.budget.succeeded()
        self.pace.accepted(now_s)

    def refused(self, now_s: float, round_trip_s: float, retry_after_s: float | None) -> None:
        """It refused a request that was sent ``round_trip_s`` ago."""
        self.counts.throttled += 1
        self.pace.refused(now_s, round_trip_s, retry_after_s)


_states: WeakValueDictionary[str, OriginState] = WeakValueDictionary()
_lock = threading.Lock()


def all_counts() -> RequestCounts:
    """The sums over all origins that somebody asks now."""
    with _lock:
        states = list(_states.values())
    total = RequestCounts()
    for state in states:
        total.add(state.counts)
    return total


def state_of(origin: str) -> OriginState:
    """The state of ``origin``; it lives as long as somebody holds it."""
    with _lock:
        state = _states.get(origin)
        if state is None:
            state = _states[origin] = OriginState()
        return state
