"""What worker processes say of themselves on their boards, those that have ended included."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from aioloader.monitor.histogram import LatencyHistogram
from aioloader.monitor.stats import CacheCounts, EngineStats, RequestCounts, freeze_latency

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aioloader.engine.processes.link import Link


class PoolFigures:
    """Told on the loop; read by any thread."""

    def __init__(self, links: list[Link]) -> None:
        """``links`` are the pool's, which goes on changing them."""
        self._links = links
        self.deaths = 0
        self._started_s: deque[float] = deque(maxlen=64)
        self._were_up = 0  # when the pool was closed
        self._heavy: dict[str, float] = {}
        self._rss_bytes = 0
        self._lag_of_ended = LatencyHistogram()
        self._cpu_of_ended = 0.0, 0.0  # of loops, of decode threads
        self._counts_of_ended = RequestCounts()
        self._cache_of_ended = CacheCounts()

    # -- told ------------------------------------------------------------------------------------------------

    def is_up(self, after_s: float) -> None:
        """A process is, so long after it was begun."""
        self._started_s.append(after_s)

    def has_loaded(self, facts: dict[str, Any]) -> None:
        """A process has loaded a recipe."""
        self._rss_bytes = max(self._rss_bytes, int(facts["rss_bytes"]))
        for name in facts["heavy"]:
            self._heavy[str(name)] = max(self._heavy.get(str(name), 0.0), float(facts["loaded_s"]))

    def has_ended(self, link: Link) -> None:
        """What it had to say stays."""
        loop_s, decode_s, _ = link.board.work()
        self._cpu_of_ended = self._cpu_of_ended[0] + loop_s, self._cpu_of_ended[1] + decode_s
        link.board.add_lag_to(self._lag_of_ended)
        link.board.add_counts_to(self._counts_of_ended)
        link.board.add_cache_to(self._cache_of_ended)

    def all_have_ended(self, links: Sequence[Link]) -> None:
        """The pool is closed; ``links`` are the last."""
        self._were_up = sum(link.is_up for link in links)
        for link in links:
            self.has_ended(link)

    # -- read ------------------------------------------------------------------------------------------------

    def stats(self) -> EngineStats:
        """All of it but CPU seconds."""
        lag = LatencyHistogram()
        lag.add(self._lag_of_ended.counts, self._lag_of_ended.total_s, self._lag_of_ended.max_s)
        links = list(self._links)
        for link in links:
            with contextlib.suppress(ValueError):  # closed meanwhile
                link.board.add_lag_to(lag)
        return EngineStats(
            loop_lag=freeze_latency(lag),
            requests=self.request_counts(),
            cache=self.cache_counts(),
            processes=max(sum(link.is_up for link in links), self._were_up),
            deaths=self.deaths,
            start_s=max(self._started_s, default=0.0),
            rss_bytes=self._rss_bytes,
            imports=dict(self._heavy),
        )

    def cache_counts(self) -> CacheCounts:
        """What became of look-ups in the cache."""
        cache = replace(self._cache_of_ended, stopped=0)
        links = list(self._links)
        for link in links:
            with contextlib.suppress(ValueError):  # closed meanwhile
                link.board.add_cache_to(cache)
        if not links:
            cache.stopped = self._cache_of_ended.stopped
        return cache

    def request_counts(self) -> RequestCounts:
        """What became of the requests of all processes."""
        requests = RequestCounts()
        requests.add(self._counts_of_ended)
        for link in list(self._links):
            with contextlib.suppress(ValueError):  # closed meanwhile
                link.board.add_counts_to(requests)
        return requests

    def work(self) -> tuple[float, float, bool]:
        """CPU seconds of the processes' loops and of their decode threads, and whether one of them waits for its byte
        budget."""
        loop_s, decode_s = self._cpu_of_ended
        is_blocked = False
        for link in list(self._links):
            with contextlib.suppress(ValueError):  # closed meanwhile
                its_loop_s, its_decode_s, blocked = link.board.work()
                loop_s, decode_s, is_blocked = loop_s + its_loop_s, decode_s + its_decode_s, is_blocked or blocked
        return loop_s, decode_s, is_blocked
