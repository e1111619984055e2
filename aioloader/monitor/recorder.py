"""What some samples went through and when: a recorder that is always on, and bounded.

Of each stage spans are kept that do not overlap, the next one not before the last has ended; so a lane of them can be
drawn, and whoever records does one comparison for a sample that is not taken.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERY_S: Final = 0.002
"""Of a lane no two spans begin closer together. To record one costs 1.2 µs, to leave one out 25 ns."""
RECENT: Final = 1024
"""Spans of each lane that are kept as they came; older ones are thinned out."""
OLDER: Final = 1024


@dataclass(frozen=True, slots=True)
class Span:
    """Something that a stage of process ``pid`` did, on the clock of `time.monotonic`; ``what`` is a key, or ""."""

    start_s: float
    end_s: float
    what: str
    pid: int


class Track:
    """A bounded memory of spans: the latest in full, of those before fewer and fewer the longer it goes on."""

    def __init__(self, recent: int = RECENT, older: int = OLDER) -> None:
        self._recent: deque[Span] = deque()
        self._kept_recent = recent
        self._older: list[Span] = []
        self._kept_older = older
        self._older_every_s = 0.0

    def add(self, span: Span) -> None:
        """The next one; by one thread at a time."""
        self._recent.append(span)
        if len(self._recent) > self._kept_recent:
            self._grow_old(self._recent.popleft())

    def _grow_old(self, span: Span) -> None:
        older = self._older
        if older and span.start_s - older[-1].start_s < self._older_every_s:
            return
        if len(older) >= self._kept_older:
            older = older[::2]
            self._older_every_s = (older[-1].start_s - older[0].start_s) / len(older)
            self._older = older  # a new list, for who is reading the old one
        older.append(span)

    def take(self) -> list[Span]:
        """All that are there; none are, then."""
        taken: list[Span] = []
        while self._recent:
            taken.append(self._recent.popleft())
        return taken

    @property
    def spans(self) -> list[Span]:
        """In the order in which they were added; from any thread."""
        while True:
            try:
                return [*self._older, *self._recent]
            except RuntimeError:  # the deque changed meanwhile
                continue


class Lane:
    """One stage of one process. ``begin`` may be called by many threads, each ``end`` by the one that began."""

    def __init__(self, track: Track, every_s: float = EVERY_S) -> None:
        self.next_s = 0.0
        """What begins before it is not recorded: whoever records looks first, and saves a call."""
        self._track = track
        self._every_s = every_s
        self._pid = os.getpid()
        self._token = [None]  # popped by who records: the one step that threads cannot both do
        self._began: tuple[float, str] | None = None

    def begin(self, start_s: float, what: str = "") -> bool:
        """Whether this one is recorded: then `end` must follow, whatever happens."""
        if start_s < self.next_s:
            return False
        try:
            self._token.pop()
        except IndexError:
            return False
        self.next_s = inf
        self._began = start_s, what
        return True

    def end(self, end_s: float) -> None:
        """It ended."""
        began, self._began = self._began, None
        if began is not None:
            self._track.add(Span(began[0], end_s, began[1], self._pid))
            self.next_s = max(end_s, began[0] + self._every_s)
            self._token.append(None)

    def record(self, start_s: float, end_s: float, what: str = "") -> None:
        """What is told when it is over."""
        if self.begin(start_s, what):
            self.end(end_s)


class Recorder:
    """The lanes of one loader. Batches lie in the ``queue`` from being whole to being taken; the consumer is
    ``waiting`` or ``computing``."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.tracks = {name: Track() for name in ("fetch", "decode", "queue", "waiting", "computing")}
        lanes = {name: Lane(track, every_s) for name, track in self.tracks.items()}
        self.fetch, self.decode, self.queue = lanes["fetch"], lanes["decode"], lanes["queue"]
        self.waiting, self.computing = lanes["waiting"], lanes["computing"]
        self.in_flight: dict[int, tuple[str, str, float]] = {}
        """What this process works on now: key, stage, and since when; by numbers of their own, for all of a loader's
        workers."""

    def add(self, stage: str, spans: Iterable[Span]) -> None:
        """What another process recorded; on the loop."""
        for span in spans:
            self.tracks[stage].add(span)
