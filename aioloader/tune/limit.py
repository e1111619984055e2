"""Which station of the way of a sample limits a run: a name, from utilisations alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aioloader.tune.load import BUSY

if TYPE_CHECKING:
    from aioloader.monitor.verdict import Limit
    from aioloader.tune.load import Load

_REFUSED_SHARE: Final = 0.002
_BLOCKED_SHARE: Final = 0.3
_CACHED_SHARE: Final = 0.5
_MOSTLY_BUSY, _MOSTLY_QUEUED = 0.9, 0.5
"""A consumer that is at work as much, with a batch waiting as often, is what the others wait for: a start or a
straggler costs it the rest."""
_CROWDED: Final = 2.5
"""Times the latency of an idle store: beyond it requests stand in line somewhere, and more of them stand in it too."""
_CROWDED_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a verdict is made from.

    ``first_batch_s`` is how long the consumer waited for the first batch, ``quick_fetch_s`` the latency of the quickest
    requests, ``is_local`` whether the store is a disk or memory of this machine. ``fixed`` are the knobs that the user
    has set, ``more_was_tried`` says that more requests in flight brought nothing, ``refused`` why there are no
    processes ("" where nothing stands against them).
    """

    load: Load
    batch_size: int
    fixed: frozenset[str] = frozenset()
    first_batch_s: float = 0.0
    quick_fetch_s: float = 0.0
    is_local: bool = False
    more_was_tried: bool = False
    refused: str = ""

    @property
    def refused_share(self) -> float:
        """Of the requests, answered with 429 or 503."""
        throttled = self.load.span.count("throttled")
        tried = throttled + self.load.span.count("answered")
        return throttled / tried if tried else 0.0

    @property
    def cached_share(self) -> float:
        """Of the samples, found in the cache."""
        hits, misses = self.load.span.count("cache_hits"), self.load.span.count("cache_misses")
        return hits / (hits + misses) if hits else 0.0

    @property
    def is_crowded(self) -> bool:
        """Whether requests take far longer than those an idle store had answered."""
        mean_s = self.load.span.fetch_mean_s
        return mean_s > max(_CROWDED * self.quick_fetch_s, _CROWDED_S) and self.quick_fetch_s > 0


def limit_of(facts: Facts) -> Limit:
    """The limit's name.

    In the order in which one station hides another: decoders that are busy leave requests unmade, a loop that is busy
    makes requests look slow.
    """
    load = facts.load
    if load.is_fed or (load.consumer >= _MOSTLY_BUSY and load.span.occupancy >= _MOSTLY_QUEUED):
        return "consumer"
    if load.is_in_turn:
        return "GIL"
    if facts.refused_share >= _REFUSED_SHARE and not load.lanes_are_busy:
        return "throttling"
    if load.lanes_are_busy:
        return "decode CPU"
    if facts.is_local and (load.span.busy_lanes + load.span.in_flight) / load.settings.workers >= BUSY:
        return _disk(facts) if load.span.fetch_mean_s > load.span.decode_mean_s else "decode CPU"
    if load.loop_is_busy:
        return "fetch CPU"
    if load.uses_all_cores:
        return "fetch CPU" if load.loop_cores >= load.lane_cores else "decode CPU"
    if load.span.beat_share("blocked_beats") >= _BLOCKED_SHARE:
        return "memory budget"
    if load.wire_is_busy:
        return _wire(facts)
    # Nobody is at its end, all wait for each other at times: the busiest.
    stations: list[tuple[float, Limit]] = [
        (load.consumer, "consumer"),
        (load.lanes, "decode CPU"),
        (load.loop, "fetch CPU"),
        (load.wire, _wire(facts)),
    ]
    return max(stations)[1]


def _wire(facts: Facts) -> Limit:
    if facts.is_local or facts.cached_share >= _CACHED_SHARE:
        return _disk(facts)
    return "network bandwidth" if facts.more_was_tried or facts.is_crowded else "network latency"


def _disk(facts: Facts) -> Limit:
    return "cache disk" if facts.cached_share >= _CACHED_SHARE else "disk"
