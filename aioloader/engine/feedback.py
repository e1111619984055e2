"""What a stream tells whoever sets its requests in flight, window by window."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.monitor.stats import Counters, RequestCounts

EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Window:
    """``seconds`` of fetching: samples ``completed``, requests ``in_flight`` on average while they came, refusals by
    429 or 503 (``throttled``), and connections that failed or stood still (``troubles``). ``answered`` are the requests
    that the whole process had answered well meanwhile, as ``troubles`` are the whole process's; None: ``completed``."""

    seconds: float
    completed: int
    in_flight: float
    throttled: int = 0
    troubles: int = 0
    answered: int | None = None

    @property
    def tried(self) -> int:
        """Requests that came to an end, well or by trouble."""
        return self.troubles + (self.completed if self.answered is None else self.answered)


class Controller(Protocol):
    """Sets the bound on requests in flight to one origin."""

    @property
    def concurrency(self) -> int:
        """The bound now."""
        ...

    def observe(self, window: Window) -> int:
        """The bound from now on, after one more window."""
        ...


class Pulse:
    """Tells a controller of each window of one stream, and the stream what came of it. On the loop alone."""

    def __init__(
        self,
        controller: Controller,
        counters: Counters,
        requests: Callable[[], RequestCounts],
        apply: Callable[[int], None],
    ) -> None:
        """``requests`` gives what became of requests so far; ``apply`` is called with each other bound."""
        self._controller = controller
        self._counters = counters
        self._requests = requests
        self._apply = apply
        self._applied = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, concurrency: int) -> None:
        """Begin; ``concurrency`` is what the stream works with now."""
        self._applied = concurrency
        self._mark(asyncio.get_running_loop())

    def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _mark(self, loop: asyncio.AbstractEventLoop) -> None:
        self._at_s = loop.time()
        self._completed, self._in_flight_seen = self._counters.fetch.latency.count, self._counters.in_flight_seen
        self._before = self._requests()
        self._timer = loop.call_later(EVERY_S, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        counters, now = self._counters, self._requests()
        completed = counters.fetch.latency.count - self._completed
        seen = counters.in_flight_seen - self._in_flight_seen
        window = Window(
            loop.time() - self._at_s,
            completed,
            seen / completed if completed else float(counters.in_flight),
            now.throttled - self._before.throttled,
            now.troubles - self._before.troubles,
            now.answered - self._before.answered,
        )
        concurrency = self._controller.observe(window)
        if concurrency != self._applied:
            self._applied = concurrency
            self._apply(concurrency)
        self._mark(loop)
