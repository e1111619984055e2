"""The controller of the knobs: told of a loader's moments, it answers with the settings to go on with. No I/O.

Each knob that the user left open has its rule in a file of its own. Spans are judged when nothing was changed in them
but the requests in flight, which have a search of their own, shared by all loaders of an origin.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aioloader.engine.pulse import PASSING
from aioloader.monitor.changes import KnobChange
from aioloader.monitor.timeline import Span
from aioloader.tune.concurrency import Window
from aioloader.tune.engine_kind import KindChoice
from aioloader.tune.lanes import LaneSearch
from aioloader.tune.load import Load
from aioloader.tune.queue import QueueLength

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.monitor.timeline import Moment, Settings
    from aioloader.tune.concurrency import ConcurrencySearch

log = logging.getLogger(__name__)

_KEPT_CHANGES: Final = 128
_PAUSE_S: Final = 0.5
"""Without an open stream: what comes after it is judged by itself."""
_SETTLE_S: Final = 0.3
"""After a change: what was begun before it comes to its end."""
_LEAST_S, _LEAST_DECODED = 0.9, 24
"""Of a span that is judged; slow samples take longer."""
_LONGEST_S: Final = 6.0
_QUEUE_EVERY_S: Final = 3.0


class Tuner:
    """One loader's. ``observe`` is called on the loop that fetches; the rest from any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        fixed: frozenset[str],
        cores: int,
        granted: float = math.inf,
        search: ConcurrencySearch | None = None,
    ) -> None:
        """``fixed`` are the knobs that the user has set; of the ``cores`` so much is ``granted`` on average; ``search``
        looks for the requests in flight."""
        self.settings = settings
        """What the loader is to run with."""
        self.fixed = fixed
        self.cores = cores
        self.granted = granted
        self._search = None if "concurrency" in fixed else search
        self._changes: deque[KnobChange] = deque(maxlen=_KEPT_CHANGES)
        self._lanes = LaneSearch()
        self._kind = KindChoice()
        self._queue = QueueLength()
        self._latest: Moment | None = None
        self._from: Moment | None = None  # the span that is judged next begins there
        self._queue_from: Moment | None = None
        self._queue_is_capped = False
        self._unsettled_until_s = 0.0

    @property
    def changes(self) -> Sequence[KnobChange]:
        """What was changed, and why; the last 128."""
        return tuple(self._changes)

    @property
    def concurrency_is_found(self) -> bool:
        """Whether more requests in flight were tried, and brought nothing."""
        return self._search is not None and self._search.is_at_ceiling

    @property
    def processes_refused(self) -> str:
        """Why there are no worker processes; "" where nothing stands against them."""
        return self._kind.refused

    def refused(self, reason: str) -> None:
        """The other kind of workers cannot be had: it goes on with those there are."""
        now = self._latest.settings if self._latest is not None else self.settings
        self.settings = replace(self.settings, use_multiprocessing=now.use_multiprocessing, workers=now.workers)
        if reason in PASSING:
            self._kind.postpone()
            return
        self._kind.refuse(reason)
        self._note("use_multiprocessing", now.use_multiprocessing, reason)

    def went_back(self, threads: int, reason: str) -> None:
        """Worker processes were given up for so many threads, for good."""
        self.settings = replace(self.settings, use_multiprocessing=False, workers=threads)
        self._kind.refuse(reason)
        self._note("use_multiprocessing", False, f"{reason}: workers={threads}")

    def observe(self, moment: Moment, *, epoch: int = 0, samples_left: int = 0) -> Settings:
        """The settings from now on. ``samples_left`` are those that will surely be read from now on."""
        latest, self._latest = self._latest, moment
        if latest is None or _is_pause(latest, moment):
            self._begin_anew(moment)
            return self.settings
        is_changing = _workers_of(moment.settings) != _workers_of(self.settings)
        if self._search is not None:
            if is_changing:
                self._search.begin_anew()  # what they have begun is finished, and little more begun
            self._set_concurrency(self._search.observe(_window(latest, moment)), self._search, moment)
        if is_changing:
            self._begin_anew(moment)  # asked for, and not there yet
        elif moment.batches and moment.active_s >= self._unsettled_until_s:
            self._look(moment, epoch, samples_left)
        return self.settings

    def _begin_anew(self, moment: Moment) -> None:
        self._from = self._queue_from = None
        self._unsettled_until_s = moment.active_s + _SETTLE_S

    def _set_concurrency(self, concurrency: int, search: ConcurrencySearch, moment: Moment) -> None:
        if concurrency != self.settings.concurrency:
            self.settings = replace(self.settings, concurrency=concurrency)
            reason = search.changes[-1].reason if search.changes else "another loader of this origin found it"
            self._note("concurrency", concurrency, reason)

    def _look(self, moment: Moment, epoch: int, samples_left: int) -> None:
        if self._from is None:
            self._from = self._queue_from = moment
            return
        span = Span(self._from, moment)
        if not _is_enough(span):
            return
        self._from = moment
        if self._change_workers(Load(span, self.cores, self.granted), epoch, samples_left):
            self._begin_anew(moment)
        else:
            self._change_queue(moment)

    def _change_workers(self, load: Load, epoch: int, samples_left: int) -> bool:
        if "use_multiprocessing" not in self.fixed:
            wish = self._kind.observe(load, epoch=epoch, samples_left=samples_left)
            if wish is not None:
                workers = self.settings.workers if "workers" in self.fixed else wish.workers
                self.settings = replace(self.settings, use_multiprocessing=wish.use_multiprocessing, workers=workers)
                self._note("use_multiprocessing", wish.use_multiprocessing, f"{wish.reason}: workers={workers}")
                return True
            if self._kind.is_considering:
                return False
        if "workers" not in self.fixed and not self.settings.use_multiprocessing:
            lanes = self._lanes.observe(load)
            if lanes is not None:
                self.settings = replace(self.settings, workers=lanes[0])
                self._note("workers", *lanes)
                return True
        return False

    def _change_queue(self, moment: Moment) -> None:
        assert self._queue_from is not None  # set with `_from`
        span = Span(self._queue_from, moment)
        if "max_queue_size" in self.fixed or span.seconds < _QUEUE_EVERY_S:
            return
        self._queue_from = moment
        given = moment.settings.max_queue_size
        if given < self.settings.max_queue_size:  # more was asked for than memory allows
            self._queue_is_capped = True
            self.settings = replace(self.settings, max_queue_size=given)
        if self._queue_is_capped:
            return
        wanted = self._queue.observe(Load(span, self.cores, self.granted))
        if wanted is not None:
            self.settings = replace(self.settings, max_queue_size=wanted[0])
            self._note("max_queue_size", *wanted)

    def _note(self, knob: str, value: int | bool, reason: str) -> None:
        at_s = 0.0 if self._latest is None else self._latest.at_s
        self._changes.append(KnobChange(at_s, knob, value, reason))
        log.info("%s=%s: %s", knob, value, reason)


def _is_enough(span: Span) -> bool:
    return span.seconds >= _LONGEST_S or (span.seconds >= _LEAST_S and span.count("decoded") >= _LEAST_DECODED)


def _is_pause(first: Moment, last: Moment) -> bool:
    active_s = last.active_s - first.active_s
    return active_s <= 0 or last.at_s - first.at_s > active_s + _PAUSE_S


def _workers_of(settings: Settings) -> tuple[bool, int]:
    return settings.use_multiprocessing, settings.workers


def _window(first: Moment, last: Moment) -> Window:
    completed = last.fetched - first.fetched
    return Window(
        last.active_s - first.active_s,
        completed,
        (last.in_flight_seen - first.in_flight_seen) / completed if completed else float(last.in_flight),
        last.throttled - first.throttled,
        last.troubles - first.troubles,
        last.answered - first.answered,
        last.waiting,
    )
