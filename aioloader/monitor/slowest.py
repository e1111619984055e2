"""The samples whose bytes took longest to come: a few of them, whatever the length of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aioloader.redact import shown_key

KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class SlowSample:
    """One fetch: the sample's key as it may be shown, how long it took, and its bytes."""

    key: str
    seconds: float
    nbytes: int


class Slowest:
    """The `KEPT` slowest fetches, each key once. Added to by one thread at a time; any may read.

    Whoever fetches compares with ``least_s`` first: nearly every sample is done with then.
    """

    def __init__(self) -> None:
        self.least_s = 0.0
        """What takes no longer is not kept."""
        self._kept: tuple[SlowSample, ...] = ()

    def add(self, key: str, seconds: float, nbytes: int) -> None:
        """Keep this one where it is among the slowest."""
        if seconds <= self.least_s:
            return
        sample = SlowSample(shown_key(key), seconds, nbytes)
        known = next((kept for kept in self._kept if kept.key == sample.key), None)
        if known is not None and known.seconds >= seconds:
            return
        others = [kept for kept in self._kept if kept is not known]
        self._kept = tuple(sorted([*others, sample], key=lambda kept: -kept.seconds)[:KEPT])
        if len(self._kept) == KEPT:
            self.least_s = self._kept[-1].seconds

    @property
    def samples(self) -> tuple[SlowSample, ...]:
        """The slowest first."""
        return self._kept
