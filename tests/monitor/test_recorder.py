"""The recorder keeps spans that do not overlap, few of them, from the whole of a run."""

from __future__ import annotations

import sys
import threading
from itertools import pairwise

from aioloader.monitor.recorder import OLDER, RECENT, Lane, Recorder, Span, Track


def test_what_overlaps_or_follows_too_soon_is_left_out() -> None:
    recorder = Recorder(every_s=0.001)
    lane = recorder.fetch
    assert lane.begin(1.0, "a")
    assert not lane.begin(1.5, "b"), "a still goes on"
    lane.end(2.0)
    assert not lane.begin(1.9, "c"), "a had not ended then"
    lane.record(2.0, 2.0001, "d")
    lane.record(2.0005, 2.0006, "e")
    lane.record(2.001, 2.002, "f")
    spans = recorder.tracks["fetch"].spans
    assert [(span.start_s, span.end_s, span.what) for span in spans] == [
        (1.0, 2.0, "a"),
        (2.0, 2.0001, "d"),
        (2.001, 2.002, "f"),
    ]


def test_the_memory_is_bounded_and_holds_the_whole_run_the_latest_in_full() -> None:
    track = Track()
    for number in range(100_000):
        track.add(Span(number, number + 0.5, "", 1))
    starts = [span.start_s for span in track.spans]
    assert len(starts) <= RECENT + OLDER + 1
    assert starts[-RECENT:] == list(range(100_000 - RECENT, 100_000))
    assert starts == sorted(starts)
    older = starts[:-RECENT]
    assert older[0] == 0
    assert max(after - before for before, after in pairwise(starts)) < 100_000 / 100, "no large part is missing"


def test_only_one_of_many_threads_records_at_a_time() -> None:
    track = Track()
    lane = Lane(track, every_s=0.0)
    clock = iter(range(10**9))
    at_once: list[int] = []
    inside: list[None] = []

    def record() -> None:
        for _ in range(3000):
            if lane.begin(next(clock)):
                inside.append(None)
                at_once.append(len(inside))
                inside.pop()
                lane.end(next(clock))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=record) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert set(at_once) == {1}
    spans = track.spans
    assert len(spans) > 100
    assert all(before.end_s <= after.start_s for before, after in pairwise(spans))


def test_what_was_taken_is_no_longer_there() -> None:
    track = Track()
    track.add(Span(1.0, 2.0, "a", 1))
    assert [span.what for span in track.take()] == ["a"]
    assert track.take() == []
