"""How fast requests are sent to a store that refuses some of them with 429 or 503: pure arithmetic.

Halving the requests in flight answers the wrong question: with a bucket of 500 tokens a second it made 100, 100 and
82 % of the possible at 5, 50 and 200 ms with 18, 2 and 0.2 % rejected, sending at a pace 98 to 100 % with under 1 %.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

_OF_ACCEPTED = 0.93
_LEAST_BETWEEN_CUTS_S = 0.25
_QUIET_S = 1.0
_STALE_S = 3.0
"""After that a refusal is the first of others."""
_STEP_S = 0.25
_STEP = 1.02
_QUICK_STEP, _FAR = 1.1, 0.9
"""Below this share of the rate at which refusals began steps are longer: a first guess may have been far too low."""
_FLOOR, _BACK_TO = 0.1, 1.0
"""Of the best of the last seconds: no cut goes below the first at once, steps are longer up to the second. An outage
of a second or two says nothing of a limit."""
_NOBODY = 1e-6
_PARTS = 10
_LEAST_PER_S = 1.0
_KNOWN = 8
FEW_SHARE, FEW = 0.03, 2
"""A smaller share of refusals, or fewer in a second, costs less than a slower pace would."""
_LOOKED_AT_S = 1.25
"""After a cut there is a second of answers at the new pace."""
_SAME = 0.6
_OUTAGE_SHARE = 0.5
_TOLERATED_S = 30.0
_FREE_SHARE = 0.5
"""A pace of which less than this share is used for `_FREE_AFTER_S` holds nobody back any more."""
_FREE_AFTER_S = 10.0
_USED_SHARE = 0.8
"""A pace of which less is used is not what limits: it stays."""
_LULL = 0.5
"""Where less than this share of what was accepted in the best of the last seconds is sent, a slower pace would change
nothing: an epoch ends, or the consumer waits."""
_PEAK_KEPT = 0.99
"""Of the best second, a tenth of a second later."""


@dataclass(frozen=True, slots=True)
class _Series:
    """Cuts that began at ``began_s``: the pace before, and the share that was refused at it."""

    began_s: float
    per_s: float | None
    share: float


class Pace:
    """The send rate to one origin, None while nothing was refused. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._answered = [0] * _PARTS  # requests that were answered well, by tenths of the last second
        self._refusals = [0] * _PARTS
        self._part = 0
        self._peak_per_s = 0.0
        self._refused_at_per_s = 0.0
        self._series: _Series | None = None
        self._tolerated, self._tolerated_until_s = 0.0, 0.0
        self._blocked_until_s = 0.0  # by Retry-After
        self._booked = self._served = 0.0
        self._served_s = 0.0
        self._cut_s = 0.0
        self._noticed_s = -_STALE_S
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
        is_used = sum(self._answered) >= _USED_SHARE * self.per_s
        if is_used and now_s - self._refused_s > _QUIET_S and now_s - self._stepped_s >= _STEP_S:
            self._stepped_s = now_s
            self.per_s *= _QUICK_STEP if self.per_s < _FAR * self._refused_at_per_s else _STEP

    def refused(self, now_s: float, round_trip_s: float, retry_after_s: float | None) -> None:
        """A request sent ``round_trip_s`` ago was refused; all wait where the store asks for it."""
        self._refused_s = now_s
        self._forget(int(now_s * _PARTS))
        self._refusals[self._part % _PARTS] += 1
        if retry_after_s is not None:
            self._serve(now_s)
            self._blocked_until_s = max(self._blocked_until_s, now_s + retry_after_s)
        settled_s = max(round_trip_s, _LEAST_BETWEEN_CUTS_S)
        if now_s - self._cut_s < settled_s:
            return  # it was sent before the last cut could help
        if self.per_s is None and not settled_s <= now_s - self._noticed_s < _STALE_S:
            if now_s - self._noticed_s >= _STALE_S:
                self._noticed_s = now_s
            return  # the others that were sent with it are being answered now
        accepted, refused = sum(self._answered), sum(self._refusals)
        share = refused / (accepted + refused)
        if refused < FEW or share < FEW_SHARE or (now_s < self._tolerated_until_s and share <= self._tolerated):
            return
        if not accepted or (self.per_s is None and accepted < _KNOWN):
            return  # nothing is known of what it accepts; those that it refused wait
        # Tenths in which something came: an epoch that has just begun has not been going for a second.
        tenths = sum(map(bool, map(operator.add, self._answered, self._refusals)))
        sent_per_s = (accepted + refused) * _PARTS / tenths
        if sent_per_s < _LULL * self._peak_per_s and share < _OUTAGE_SHARE:
            return
        if self._have_another_cause(now_s, share):
            return
        if self._series is None:
            self._series = _Series(now_s, self.per_s, share)
        accepted_per_s = accepted * _PARTS / tenths
        refused_at = sent_per_s if self.per_s is None else min(sent_per_s, self.per_s)
        self._refused_at_per_s = max(refused_at, _BACK_TO * self._peak_per_s)
        self._serve(now_s)
        wanted = max(_OF_ACCEPTED * accepted_per_s, _FLOOR * self._peak_per_s, _LEAST_PER_S)
        self.per_s = wanted if self.per_s is None else min(wanted, self.per_s)
        self._cut_s = self._stepped_s = self._used_s = now_s

    def _have_another_cause(self, now_s: float, share: float) -> bool:
        """Whether as many are refused as at the former pace, which is taken back then: no slower one removes these."""
        series = self._series
        if series is None or now_s - series.began_s < _LOOKED_AT_S:
            return False
        self._series = None
        has_risen = self._stepped_s > self._cut_s  # then it may have met the limit anew
        is_same = _SAME * series.share <= share <= series.share / _SAME
        if has_risen or not is_same or share >= _OUTAGE_SHARE:
            return False
        self._tolerated, self._tolerated_until_s = share / _SAME, now_s + _TOLERATED_S
        self.per_s = series.per_s
        return True

    @property
    def is_free(self) -> bool:
        """Whether nobody waits: nothing was refused, or not for long."""
        return self.per_s is None and not self._blocked_until_s

    def _serve(self, now_s: float) -> None:
        """Those whose turn has come since the last look, at the pace of now."""
        if now_s >= self._blocked_until_s:
            since_s = now_s - max(self._served_s, self._blocked_until_s)
            self._blocked_until_s = 0.0
            self._served = (
                self._booked if self.per_s is None else min(self._served + since_s * self.per_s, self._booked)
            )
        self._served_s = now_s

    def book(self, now_s: float) -> float:
        """The next place in line."""
        self._serve(now_s)
        self._booked += 1
        return self._booked

    def wait_s(self, place: float, now_s: float) -> float:
        """Seconds until the turn of ``place`` at the pace of now, which may change meanwhile; 0 when it has come."""
        self._serve(now_s)
        blocked_s = max(self._blocked_until_s - now_s, 0.0)
        before = place - 1 - self._served
        return blocked_s + (before / self.per_s if self.per_s is not None and before > _NOBODY else 0.0)

    def give_back(self) -> None:
        """A place that was booked is not used."""
        self._booked = max(self._booked - 1, self._served)
