"""When to ask again: one frozen record, and the budget that keeps an outage from being multiplied."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from aioloader.errors import OptionError

_REFUND = 0.2
"""Of a retry, for each request that succeeds: in the long run at most one request in six is a repetition."""
_REFUSED_COST = 0.25
"""Of a retry, for one that was refused (429, 503): the pace of sending is what answers those."""
_DRIP_PER_S = 2.0
"""Repetitions a second when the budget is empty: what it takes to notice that an outage is over."""


_LONGEST_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often, how soon and for how long a request that failed is made again.

    At most ``attempts`` in all, none begun later than ``deadline_s`` after the first; a body that breaks off after
    64 KiB or more of progress begins to count anew. The n-th wait is drawn from 0 to ``base_s`` times 2^n
    (``throttled_base_s`` after 429 and 503), at most ``longest_wait_s``. A store that asks to wait longer than
    ``longest_retry_after_s`` has failed. ``attempts=1`` never asks again.

    A request that takes longer than 95 % of those for bodies of its size is made once more, and the first answer is
    taken: at most ``hedge_share`` of all requests, none while the store refuses some, none for bodies over 8 MiB;
    0 never does. Raises `OptionError`.
    """

    attempts: int = 6
    deadline_s: float = 120.0
    base_s: float = 0.05
    throttled_base_s: float = 1.0
    longest_wait_s: float = 20.0
    longest_retry_after_s: float = 60.0
    hedge_share: float = 0.05

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise OptionError("attempts", repr(self.attempts), "a whole number of at least 1")
        for option in fields(self)[1:-1]:
            value = getattr(self, option.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise OptionError(option.name, repr(value), "a number of seconds, at least 0")
        if type(self.hedge_share) not in (int, float) or not 0 <= self.hedge_share <= 1:
            raise OptionError("hedge_share", repr(self.hedge_share), "a share of requests from 0 to 1, such as 0.05")

    def wait_s(self, failures: int, draw: float, *, throttled: bool) -> float:
        """Seconds before the next attempt after ``failures`` of them; ``draw`` from 0 to 1 (full jitter)."""
        base_s = self.throttled_base_s if throttled else self.base_s
        return draw * min(self.longest_wait_s, base_s * 2.0 ** min(failures - 1, 30))


RETRY = Retry()


class RetryBudget:
    """Repetitions that one origin may still have; used on one loop.

    A hundred failures at once are repeated at once, an outage is not: then a few a second go on asking, and who
    has to wait sends nothing new either.
    """

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._tokens = capacity
        self._looked_s = 0.0

    def succeeded(self) -> None:
        """A request did: part of a repetition comes back."""
        if self._tokens < self._capacity:
            self._tokens = min(self._tokens + _REFUND, self._capacity)

    def book(self, now_s: float, *, throttled: bool = False) -> float:
        """Take one repetition; returns in how many seconds it may begin. Those who wait stand in line."""
        if self._tokens < 0:
            self._tokens = min(self._tokens + (now_s - self._looked_s) * _DRIP_PER_S, 0.0)
        self._looked_s = now_s
        self._tokens -= _REFUSED_COST if throttled else 1
        return min(max(-self._tokens, 0.0) / _DRIP_PER_S, _LONGEST_S)

    def give_back(self, *, throttled: bool = False) -> None:
        """One that was booked is not made."""
        self._tokens = min(self._tokens + (_REFUSED_COST if throttled else 1), self._capacity)

    @property
    def is_solvent(self) -> bool:
        """Whether nobody has to wait any more."""
        return self._tokens >= 0
