"""A run as a trace for Perfetto or ``chrome://tracing``: a lane a stage, counters, and the knobs' changes."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.recorder import Recorder, Span
    from aioloader.monitor.timeline import Timeline

_LANES: Final = {
    "fetch": (1, "fetch (sampled)", "fetch"),
    "decode": (2, "decode (sampled)", "decode"),
    "queue": (3, "batch queue", "whole, waits for the consumer"),
    "waiting": (4, "consumer", "waiting for data"),
    "computing": (4, "consumer", "computing"),
}
"""Of each stage: its lane, the lane's name, and what a span of it is called."""
_KNOBS_LANE: Final = 5
_MOST_UNFINISHED: Final = 64

Event = dict[str, Any]


def trace_json(
    recorder: Recorder,
    timeline: Timeline,
    changes: Sequence[KnobChange],
    *,
    until_s: float,
    source: str = "",
    about: Mapping[str, str] | None = None,
    note: str = "",
) -> str:
    """The trace as JSON; its size has a bound, whatever the length of the run.

    ``until_s`` (monotonic) is now: what this process still works on is drawn up to there. ``note`` stands there too.
    Times are microseconds since the first event.
    """
    spans = [(stage, span) for stage, track in recorder.tracks.items() for span in track.spans]
    in_flight = recorder.in_flight.copy()
    moments = timeline.moments
    starts = [span.start_s for _, span in spans] + [since_s for _, _, since_s in in_flight.values()]
    starts += [moment.at_s for moment in moments[:1]] + [change.at_s for change in changes] + [until_s]
    clock = _Clock(min(starts))
    own = os.getpid()
    events = [
        *_names(own, {span.pid for _, span in spans}, source),
        *_spans(clock, spans),
        *_unfinished(clock, in_flight, until_s, own),
        *_counters(clock, timeline, own),
        *_changes(clock, changes, own),
    ]
    if note:
        events.append(_instant(clock, until_s, own, note, {}))
    return json.dumps(
        {
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": {"made by": "aioloader", "source": source, **(about or {})},
        }
    )


class _Clock:
    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s

    def us(self, at_s: float) -> float:
        return round(max(at_s - self._origin_s, 0.0) * 1e6, 3)


def _names(own: int, pids: set[int], source: str) -> Iterator[Event]:
    for pid in sorted({own, *pids}):
        name = f"aioloader {source}".rstrip() if pid == own else "aioloader worker process"
        yield _metadata("process_name", pid, 0, {"name": name})
        lanes = {lane: name for lane, name, _ in _LANES.values() if pid == own or lane <= 2}
        for lane, lane_name in (lanes | ({_KNOBS_LANE: "knobs"} if pid == own else {})).items():
            yield _metadata("thread_name", pid, lane, {"name": lane_name})
            yield _metadata("thread_sort_index", pid, lane, {"sort_index": lane})


def _metadata(name: str, pid: int, lane: int, arguments: Mapping[str, object]) -> Event:
    return {"ph": "M", "ts": 0, "name": name, "pid": pid, "tid": lane, "args": arguments}


def _spans(clock: _Clock, spans: Iterable[tuple[str, Span]]) -> Iterator[Event]:
    lanes: dict[tuple[int, int], list[tuple[str, Span]]] = defaultdict(list)
    for stage, span in spans:
        lanes[span.pid, _LANES[stage][0]].append((stage, span))
    for (pid, lane), known in lanes.items():
        free_s = 0.0
        for stage, span in sorted(known, key=lambda pair: pair[1].start_s):
            if span.start_s < free_s:
                continue  # two streams at a time, where one takes over from another
            free_s = span.end_s
            yield _complete(clock, stage, span.start_s, span.end_s, pid, lane, span.what)


def _unfinished(
    clock: _Clock, in_flight: Mapping[int, tuple[str, str, float]], until_s: float, own: int
) -> Iterator[Event]:
    """Each on a line of its own, for they overlap; the oldest ones."""
    oldest = sorted(in_flight.items(), key=lambda row: row[1][2])[:_MOST_UNFINISHED]
    for ticket, (key, stage, since_s) in oldest:
        event = {"cat": "in flight", "id": ticket, "name": f"{stage}, unfinished", "pid": own, "tid": _LANES[stage][0]}
        yield {"ph": "b", "ts": clock.us(since_s), "args": {"key": shown_key(key)}, **event}
        yield {"ph": "e", "ts": clock.us(max(until_s, since_s)), "args": {}, **event}


def _complete(clock: _Clock, stage: str, start_s: float, end_s: float, pid: int, lane: int, what: str) -> Event:
    start = clock.us(start_s)
    arguments: dict[str, object] = {"key": shown_key(what)} if what else {}
    name, took = _LANES[stage][2], round(clock.us(end_s) - start, 3)
    return {"ph": "X", "ts": start, "dur": took, "name": name, "pid": pid, "tid": lane, "args": arguments}


def _counters(clock: _Clock, timeline: Timeline, own: int) -> Iterator[Event]:
    for moment in timeline.moments:
        yield _counter(clock, moment.at_s, own, "requests in flight", moment.in_flight)
        yield _counter(clock, moment.at_s, own, "queued batches", moment.queued)
    for span in timeline.spans():
        yield _counter(clock, span.first.at_s, own, "samples/s", round(span.samples_per_s, 1))


def _counter(clock: _Clock, at_s: float, own: int, name: str, value: float) -> Event:
    return {"ph": "C", "ts": clock.us(at_s), "name": name, "pid": own, "tid": 0, "args": {name: value}}


def _changes(clock: _Clock, changes: Iterable[KnobChange], own: int) -> Iterator[Event]:
    for change in changes:
        yield _instant(clock, change.at_s, own, f"{change.knob}={change.value}", {"reason": change.reason})


def _instant(clock: _Clock, at_s: float, own: int, name: str, arguments: Mapping[str, object]) -> Event:
    return {"ph": "i", "s": "p", "ts": clock.us(at_s), "name": name, "pid": own, "tid": _KNOBS_LANE, "args": arguments}
