"""How badly the bucket behaves: latency, shared bandwidth, a rate limit, and refusals drawn from a seed."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from statistics import NormalDist

from aioloader.errors import OptionError
from aioloader.runtime.token_bucket import TokenBucket

_NORMAL = NormalDist()
_Z99 = _NORMAL.inv_cdf(0.99)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one request is in for: how long it waits, and the status it is refused with, or None."""

    delay_s: float
    refusal_status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """The options of a `LocalBucket`; the default is a bucket that behaves.

    ``latency_s`` passes before the first byte of every answer. ``jitter_s`` adds a uniform share of itself,
    so that ``latency_s`` stays the least. With ``latency_p99_s`` latencies are log-normal instead: half of
    them below ``latency_s``, one in a hundred above ``latency_p99_s``; the tail is long, as a real bucket's.
    ``bandwidth_bytes_per_s`` is shared by all connections; None is no limit. ``error_rate`` (0 to 1) of the
    requests are answered with one of ``error_statuses``, each as likely, and nothing of the file. What comes faster
    than ``rate_limit_per_s`` a second, and ``rate_limit_burst`` at once (a second's worth, unless given), is refused
    with ``rate_limit_status`` (429 or 503), and with Retry-After where it is a second or more until the next may come.

    Draws depend on ``seed``, the method, the key and how often it was asked for, never on the order of
    arrival: the same requests meet the same fate however they are scheduled, and a retry draws anew.

    Raises `OptionError` for a value that cannot work.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    latency_p99_s: float | None = None
    bandwidth_bytes_per_s: float | None = None
    error_rate: float = 0.0
    error_statuses: tuple[int, ...] = (503,)
    rate_limit_per_s: float | None = None
    rate_limit_burst: float | None = None
    rate_limit_status: int = 503
    seed: int = 0

    def __post_init__(self) -> None:
        _check("latency_s", self.latency_s, 0 <= self.latency_s < math.inf, "seconds, 0 or more")
        _check("jitter_s", self.jitter_s, 0 <= self.jitter_s < math.inf, "seconds, 0 or more")
        p99_s = self.latency_p99_s
        if p99_s is not None:
            _check("latency_s", self.latency_s, self.latency_s > 0, "above 0 (the median) with latency_p99_s")
            _check("latency_p99_s", p99_s, self.latency_s < p99_s < math.inf, "more than latency_s, the median")
            _check("jitter_s", self.jitter_s, self.jitter_s == 0, "0 with latency_p99_s, which spreads already")
        rate = self.bandwidth_bytes_per_s
        _check("bandwidth_bytes_per_s", rate, rate is None or 0 < rate < math.inf, "bytes/s above 0, or None")
        _check("error_rate", self.error_rate, 0 <= self.error_rate <= 1, "a share from 0 to 1")
        statuses_fit = bool(self.error_statuses) and all(400 <= status <= 599 for status in self.error_statuses)
        _check("error_statuses", self.error_statuses, statuses_fit, "HTTP statuses from 400 to 599")
        limit, burst, status = self.rate_limit_per_s, self.rate_limit_burst, self.rate_limit_status
        _check("rate_limit_per_s", limit, limit is None or 0 < limit < math.inf, "requests a second above 0, or None")
        burst_fits = burst is None or (limit is not None and 1 <= burst < math.inf)
        _check("rate_limit_burst", burst, burst_fits, "requests at once, 1 or more, beside rate_limit_per_s")
        _check("rate_limit_status", status, status in (429, 503), "429 or 503")

    def token_bucket(self) -> TokenBucket | None:
        """A full one for the rate limit; None without a limit."""
        if self.rate_limit_per_s is None:
            return None
        burst = self.rate_limit_burst if self.rate_limit_burst is not None else max(self.rate_limit_per_s, 1.0)
        return TokenBucket(self.rate_limit_per_s, burst)

    def turn(self, method: str, key: str, occurrence: int) -> Turn:
        """What the ``occurrence``-th request (from 0) of ``method`` for ``key`` is in for."""
        delay_draw, error_draw, status_draw = _uniforms(self.seed, method, key, occurrence)
        refused = error_draw < self.error_rate
        status = self.error_statuses[int(status_draw * len(self.error_statuses))] if refused else None
        return Turn(self._delay_s(delay_draw), status)

    def _delay_s(self, draw: float) -> float:
        if self.latency_p99_s is None:
            return self.latency_s + self.jitter_s * draw
        sigma = math.log(self.latency_p99_s / self.latency_s) / _Z99
        return self.latency_s * math.exp(sigma * _NORMAL.inv_cdf(draw))

    def __str__(self) -> str:
        latency = f"{self.latency_s * 1000:g} ms latency"
        if self.latency_p99_s is not None:
            latency = f"latency p50 {self.latency_s * 1000:g} ms, p99 {self.latency_p99_s * 1000:g} ms"
        parts = [latency]
        if self.jitter_s:
            parts.append(f"up to {self.jitter_s * 1000:g} ms jitter")
        if self.bandwidth_bytes_per_s is not None:
            parts.append(f"{self.bandwidth_bytes_per_s / 1e6:g} MB/s for all")
        if self.error_rate:
            statuses = "/".join(str(status) for status in self.error_statuses)
            parts.append(f"{self.error_rate * 100:g} % answered {statuses}")
        if self.rate_limit_per_s is not None:
            parts.append(f"at most {self.rate_limit_per_s:g} requests/s, then {self.rate_limit_status}")
        return ", ".join(parts)


def _check(option: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise OptionError(option, repr(value), expected)


def _uniforms(seed: int, method: str, key: str, occurrence: int) -> tuple[float, float, float]:
    text = f"{seed} {occurrence} {method} {key}".encode("utf-8", "surrogatepass")
    words = struct.unpack("<3Q", hashlib.blake2b(text, digest_size=24).digest())
    # 53 bits and the middle of each step: strictly between 0 and 1, as the inverse normal needs.
    first, second, third = (((word >> 11) + 0.5) / 2**53 for word in words)
    return first, second, third
