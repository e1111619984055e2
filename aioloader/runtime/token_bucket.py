"""A token bucket: the rate limit that real stores have."""

from __future__ import annotations

from time import monotonic


class TokenBucket:
    """So many requests a second, and ``burst`` at once; used on one loop."""

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._tokens = burst
        self._looked_s = monotonic()

    def takes(self) -> bool:
        """Whether one more request may pass now; if so, it has."""
        now_s = monotonic()
        self._tokens = min(self._tokens + (now_s - self._looked_s) * self.per_s, self.burst)
        self._looked_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def next_in_s(self) -> float:
        """Seconds from the last look until a request may pass."""
        return max(1 - self._tokens, 0.0) / self.per_s
