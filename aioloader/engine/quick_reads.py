"""A quick disk is read by the decode threads, each sample as they need it: no hand-over, and nothing waits."""

from __future__ import annotations

import threading
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from aioloader.engine.bodies import check_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aioloader.engine.in_flight import InFlight
    from aioloader.engine.work import Work
    from aioloader.monitor.stats import Counters
    from aioloader.types import ByteRange

_SLOW_S: Final = 0.002
"""A read that takes longer, on average of the last twenty, is not the page cache's or a quick disk's."""
_LATEST: Final = 0.05


class Loop(Protocol):
    """Who fetches on the event loop what is not read here."""

    starved: bool
    in_flight: InFlight

    def rescue(self, tickets: Iterable[int]) -> None:
        """Fetch these there; on the loop."""
        ...

    def read_on_loop(self) -> None:
        """Fetch all there from now on; on the loop."""
        ...


class QuickReads:
    """One worker's: at most ``workers`` threads read at a time. Called from decode threads alone."""

    def __init__(
        self,
        loop: Loop,
        work: Work,
        read_now: Callable[[str, ByteRange | None], bytes],
        workers: int,
        counters: Counters,
        post: Callable[[Callable[[], object]], object],
    ) -> None:
        self._loop = loop
        self._work = work
        self._read_now = read_now
        self._workers = workers
        self._counters = counters
        self._post = post
        self._lock = threading.Lock()
        self._reading = 0  # threads
        self._read_s = 0.0

    def set_workers(self, workers: int) -> None:
        """Another bound on the threads that read; those beyond end what they are at."""
        self._workers = workers

    def read_next(self) -> bool:
        """Read the next sample; False where there is none to be begun."""
        if self._work.has_waiting:
            return False  # one that waits for its step to open is enough: more would only take memory
        with self._lock:
            if self._reading >= self._workers:
                return False  # a mount that hangs takes no more threads than this loader may have
            self._reading += 1
        try:
            return self._read_one()
        finally:
            with self._lock:
                self._reading -= 1

    def _read_one(self) -> bool:
        ticket = self._work.next_ticket()
        if ticket is None:
            self._loop.starved = True
            if not self._work.has_more:
                return False
            ticket = self._work.next_ticket()  # the consumer moved between the two looks
            if ticket is None:
                return False
        sample = self._work.sample(ticket)
        started = monotonic()
        lane = self._counters.recorder.fetch
        is_recorded = started >= lane.next_s and lane.begin(started, sample.key)
        self._loop.in_flight.begins(ticket, sample.key, "fetch", started)
        try:
            body = self._read_now(sample.key, sample.byte_range)
            check_length(sample, len(body))
            item = self._work.item(ticket, sample, body)
        except BaseException:  # asked for again on the loop, as any other store is, and named there
            self._post(partial(self._loop.rescue, (ticket,)))
            return True
        finally:
            if is_recorded:
                lane.end(monotonic())
            self._loop.in_flight.ends(ticket)
        item.fetch_s, item.nbytes, item.reserved_bytes = monotonic() - started, len(body), 0
        counters = self._counters
        with self._lock:
            counters.fetch.latency.record(item.fetch_s)
            if item.fetch_s > counters.slowest.least_s:
                counters.slowest.add(sample.key, item.fetch_s, item.nbytes)
            counters.bytes_fetched += item.nbytes
            counters.in_flight_peak = max(counters.in_flight_peak, 1)
            self._read_s += _LATEST * (item.fetch_s - self._read_s)
            is_slow = self._read_s > _SLOW_S
        self._work.offer(item)
        if is_slow:
            self._post(self._loop.read_on_loop)
        return True
