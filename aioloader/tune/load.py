"""Who was busy in a span of a run: each station's share of what it could do. Pure arithmetic.

By the utilisation law the busiest station limits the whole: when it is at 1, no other one can be made to do more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aioloader.monitor.timeline import Settings, Span

BUSY: Final = 0.85
"""From here on a station counts as the limit: what it waits for its neighbours costs it some of its time."""
FED: Final = 0.05
"""Share of the time that a consumer who is the limit waits at most."""
_LOOP_BUSY: Final = 0.75
"""A loop that is the limit waits for the GIL or in the kernel for the rest of its time."""
_ONE_INTERPRETER: Final = 0.8, 1.4
"""Cores in use where the GIL is the limit: one, and what its holders do without it."""
_LANES_IN_TURN: Final = 0.75
"""Of their number the lanes have cores, or less: they take turns."""
_MOSTLY_DECODING: Final = 0.5
_LATE_S: Final = 0.003
"""A loop that is as late on average does not get the GIL when it needs it: it is let go every 5 ms at most."""
_SPARE: Final = 0.2
"""Cores with nothing to do, of two: less is the unrest of the machine."""


@dataclass(frozen=True, slots=True)
class Load:
    """A span as utilisations; cores are those that this process may use."""

    span: Span
    cores: int
    granted: float = math.inf
    """Of the cores, what the control group lets it use on average."""

    @property
    def settings(self) -> Settings:
        """The knobs at the span's end."""
        return self.span.last.settings

    @property
    def consumer(self) -> float:
        """Share of the time that the consumer was at work."""
        return 1 - self.span.data_wait_share

    @property
    def is_fed(self) -> bool:
        """Whether the consumer hardly ever waits: then nothing before it limits."""
        return self.span.data_wait_share <= FED

    @property
    def wire(self) -> float:
        """Requests in flight as a share of the bound: those of all loaders of the origin, for they share it."""
        fetched = self.span.count("fetched")
        seen = self.span.count("in_flight_seen") / fetched if fetched else 0.0
        return min(max(self.span.in_flight, seen) / self.settings.concurrency, 1.0)

    @property
    def lanes(self) -> float:
        """Decoders at work as a share of all."""
        return min(self.span.busy_lanes / self.settings.workers, 1.0)

    @property
    def lane_cores(self) -> float:
        """Cores that decoders used on average."""
        return self.span.per_s("decode_cpu_s") + self.span.per_s("child_decode_cpu_s")

    @property
    def loop_cores(self) -> float:
        """Cores that the loops which fetch used on average."""
        return self.span.per_s("loop_cpu_s") + self.span.per_s("child_loop_cpu_s")

    @property
    def uses_all_cores(self) -> bool:
        """Whether no core is left, and it is loading that took them: not the model, not other programs."""
        ours = self.lane_cores + self.loop_cores
        return not self.has_spare_cores and ours >= 0.5 * self.cores and ours > self.consumer_cores

    @property
    def own_cores(self) -> float:
        """Cores that this process used, its worker processes not counted."""
        return self.span.per_s("process_cpu_s")

    @property
    def consumer_cores(self) -> float:
        """Cores that this process used for anything but loading: the model, where it runs on the CPU."""
        ours = self.span.per_s("loop_cpu_s") + self.span.per_s("decode_cpu_s")
        return max(self.own_cores - ours, 0.0)

    @property
    def used_cores(self) -> float:
        """Cores that this process and its worker processes used."""
        return self.own_cores + self.span.per_s("child_decode_cpu_s") + self.span.per_s("child_loop_cpu_s")

    @property
    def idle_cores(self) -> float:
        """Cores that nobody used: this process, its children, or anybody else on the machine."""
        idle = min(self.span.per_s("idle_s"), float(self.cores))
        return min(idle, max(min(self.cores, self.granted) - self.used_cores, 0.0))

    @property
    def has_spare_cores(self) -> bool:
        """Whether more could be computed at the same time."""
        return self.idle_cores >= _SPARE * max(self.cores / 2, 1.0)

    @property
    def loop(self) -> float:
        """Of the loops that fetch, the share of time on a core."""
        if self.settings.use_multiprocessing:
            return min(self.span.per_s("child_loop_cpu_s") / self.settings.workers, 1.0)
        return min(self.span.per_s("loop_cpu_s"), 1.0)

    @property
    def lanes_are_busy(self) -> bool:
        """Whether samples wait for decoders."""
        return self.lanes >= BUSY

    @property
    def loop_is_busy(self) -> bool:
        """Whether fetching takes all that one thread can do."""
        return self.loop >= _LOOP_BUSY

    @property
    def wire_is_busy(self) -> bool:
        """Whether all requests that may be in flight are."""
        return self.wire >= BUSY

    @property
    def is_in_turn(self) -> bool:
        """Whether decode threads take turns at the GIL: with the loop they have about one core, others are idle, and
        either all of them are busy all the same, or they keep the loop from running."""
        least, most = _ONE_INTERPRETER
        if self.settings.use_multiprocessing or not self.has_spare_cores or self.lane_cores < _MOSTLY_DECODING:
            return False
        in_turn = self.settings.workers > 1 and self.lanes_are_busy
        in_turn = in_turn and self.lane_cores <= _LANES_IN_TURN * min(self.settings.workers, self.cores)
        is_one = least <= self.own_cores - self.consumer_cores <= most
        return is_one and (in_turn or self.span.lag_mean_s >= _LATE_S)

    @property
    def lanes_sleep(self) -> bool:
        """Whether decoders wait for something that is no core: a file, a lock, a server."""
        return (
            self.lanes_are_busy
            and self.lane_cores < 0.5 * min(self.settings.workers, self.cores)
            and not self.is_in_turn
            and self.has_spare_cores
        )
