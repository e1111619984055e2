"""How fast requests are sent to a store that refuses some of them with 429 or 503: pure arithmetic.

Halving the requests in flight answers the wrong question: with a bucket of 500 tokens a second it made 100, 100 and
82 % of the possible at 5, 50 and 200 ms with 18, 2 and 0.2 % rejected, sending at a pace 98 to 100 % with under 1 %.
"""

from __future__ import annotations

import operator

_OF_ACCEPTED = 0.93
_LEAST_BETWEEN_CUTS_S = 0.25
_QUIET_S = 1.0
_STEP_S = 0.25
_STEP = 1.02
_PARTS = 10
_LEAST_PER_S = 1.0
_KNOWN = 8
_FEW, _MANY = 20, 0.5
_LEAST_SHARE = 0.8
"""A rate limit goes on accepting what it did: where refusals stay few and the pace has fallen to this share of what was
accepted when they were many (or began), they have another cause, which no slower pace removes."""
_FREE_SHARE = 0.5
"""A pace of which less than this share is used for `_FREE_AFTER_S` holds nobody back any more."""
_FREE_AFTER_S = 10.0
_LULL = 0.5
"""Where less than this share of the best of the last seconds is sent, what is accepted says nothing of a limit: an
epoch ends, or the consumer waits."""
_PEAK_KEPT = 0.99
"""Of the best second, a tenth of a second later."""


class Pace:
    """The send rate to one origin, None while nothing was refused. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._answered = [0] * _PARTS  # requests that were answered well, by tenths of the last second
        self._refusals = [0] * _PARTS
        self._part = 0
        self._peak_per_s = 0.0
        self._least_per_s = _LEAST_PER_S
        self._next_s = 0.0
        self._cut_s = 0.0
        self._refused_s = 0.0
        self._stepped_s = 0.0
        self._used_s = 0.0

    def accepted(self, now_s: float) -> None:
        """A request was answered."""
        part = int(now_s * _PARTS)
        if part != self._part:
            self._forget(part)
        self._answered[part % _PARTS] += 1
        if self.per_s is not None:
            self._rise(now_s)

    def _forget(self, part: int) -> None:
        """What lies more than a second before ``part``."""
        self._peak_per_s *= _PEAK_KEPT ** min(part - self._part, 1000)
        self._peak_per_s = max(self._peak_per_s, sum(self._answered))
        for old in range(max(self._part + 1, part - _PARTS + 1), part + 1):
            self._answered[old % _PARTS] = self._refusals[old % _PARTS] = 0
        self._part = part

    def _rise(self, now_s: float) -> None:
        assert self.per_s is not None
        if sum(self._answered) >= _FREE_SHARE * self.per_s:
            self._used_s = now_s
        if now_s - max(self._used_s, self._refused_s) > _FREE_AFTER_S:
            self.per_s = None
            return
        if now_s - self._refused_s > _QUIET_S and now_s - self._stepped_s >= _STEP_S:
            self._stepped_s = now_s
            self.per_s *= _STEP

    def refused(self, now_s: float, round_trip_s: float, retry_after_s: float | None) -> None:
        """A request sent ``round_trip_s`` ago was refused; all wait where the store asks for it."""
        self._refused_s = now_s
        self._forget(int(now_s * _PARTS))
        self._refusals[self._part % _PARTS] += 1
        if retry_after_s is not None:
            self._next_s = max(self._next_s, now_s + retry_after_s)
        if now_s - self._cut_s < max(round_trip_s, _LEAST_BETWEEN_CUTS_S):
            return  # it was sent before the last cut could help
        accepted, refused = sum(self._answered), sum(self._refusals)
        if self.per_s is None and accepted < _KNOWN:
            return  # nothing is known of what it accepts; those that it refused wait
        # Tenths in which something came: an epoch that has just begun has not been going for a second.
        tenths = sum(map(bool, map(operator.add, self._answered, self._refusals)))
        accepted_per_s = accepted * _PARTS / tenths
        if (accepted + refused) * _PARTS / tenths < _LULL * self._peak_per_s:
            accepted_per_s = self._peak_per_s
        if self.per_s is None or (refused >= _FEW and refused >= _MANY * (accepted + refused)):
            self._least_per_s = max(_LEAST_SHARE * accepted_per_s, _LEAST_PER_S)
        wanted = _OF_ACCEPTED * accepted_per_s
        self.per_s = max(wanted if self.per_s is None else min(wanted, self.per_s), self._least_per_s)
        self._cut_s = self._stepped_s = self._used_s = now_s

    @property
    def is_free(self) -> bool:
        """Whether nobody waits: nothing was refused, or not for long."""
        return self.per_s is None and not self._next_s

    def give_back(self) -> None:
        """A place that was booked is not used."""
        if self.per_s is not None:
            self._next_s -= 1 / self.per_s

    def book(self, now_s: float) -> float:
        """The next place in line; returns in how many seconds its turn comes."""
        begin_s = max(self._next_s, now_s)
        if self.per_s is not None:
            self._next_s = begin_s + 1 / self.per_s
        elif begin_s == now_s:
            self._next_s = 0.0
        return begin_s - now_s
