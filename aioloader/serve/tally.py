"""What the bucket was asked for and gave: counted on its loop, read from any thread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketStatistics:
    """A bucket's counts so far.

    ``requests`` came in, ``refusals`` of them were answered badly on purpose, ``abandoned`` were left by the
    client before their end. ``in_flight`` are being answered now, ``peak_in_flight`` is the most at one time.
    ``body_bytes`` counts what was sent of files and listings.
    """

    requests: int
    refusals: int
    abandoned: int
    in_flight: int
    peak_in_flight: int
    body_bytes: int


class Tally:
    """The mutable side of `BucketStatistics`."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.total = 0
        self.refusals = 0
        self.abandoned = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.body_bytes = 0

    def arrive(self, method: str, key: str) -> int:
        """Count a request; returns how many of its method and key came before."""
        occurrence = self.requests[method, key]
        self.requests[method, key] = occurrence + 1
        self.total += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        return occurrence

    def statistics(self) -> BucketStatistics:
        """The counts now."""
        return BucketStatistics(
            requests=self.total,
            refusals=self.refusals,
            abandoned=self.abandoned,
            in_flight=self.in_flight,
            peak_in_flight=self.peak_in_flight,
            body_bytes=self.body_bytes,
        )
