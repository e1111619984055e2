"""The decode threads: each announcement is followed by a look, each lane gets its turn, all end."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

import pytest

from aioloader.engine.lanes import DecodeThreads

CEILING_S = 30.0


class Queue:
    """A lane of numbered pieces of work; records who did what."""

    def __init__(self, *, most_at_once: int = 100) -> None:
        self.pieces: deque[int] = deque()
        self.done: list[int] = []
        self.all_done = threading.Event()
        self.expected = 0
        self._most_at_once = most_at_once
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()

    def work(self) -> bool:
        with self._lock:
            if not self.pieces or self.running >= self._most_at_once:
                return False
            piece = self.pieces.popleft()
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        with self._lock:
            self.running -= 1
            self.done.append(piece)
            if len(self.done) == self.expected:
                self.all_done.set()
        return True


class Gate:
    """A lane whose work waits for the test."""

    def __init__(self, times: int = 1) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self._left = times
        self._lock = threading.Lock()

    def work(self) -> bool:
        with self._lock:
            if not self._left:
                return False
            self._left -= 1
        self.entered.release()
        assert self.opened.wait(CEILING_S)
        return True


def end(threads: DecodeThreads) -> None:
    threads.end()
    threads.join(time.monotonic() + CEILING_S)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("most_at_once", [1, 100])
def test_no_announcement_is_lost_among_many_threads(workers: int, most_at_once: int) -> None:
    threads = DecodeThreads()
    lane = Queue(most_at_once=most_at_once)
    lane.expected = 6000
    threads.add(lane, workers)

    def announce(first: int) -> None:
        for piece in range(first, first + 2000):
            lane.pieces.append(piece)
            threads.announce(1)

    producers = [threading.Thread(target=announce, args=(first,)) for first in (0, 2000, 4000)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    assert lane.all_done.wait(CEILING_S), f"{len(lane.done)} of 6000 were done"
    assert sorted(lane.done) == list(range(6000))
    assert lane.most_running <= min(workers, most_at_once)
    end(threads)


def test_one_piece_at_a_time_is_never_left_lying() -> None:
    threads = DecodeThreads()
    lane = Queue()
    threads.add(lane, 3)
    for piece in range(1500):  # each waits for the last: the threads go to sleep in between
        lane.all_done.clear()
        lane.expected = piece + 1
        lane.pieces.append(piece)
        threads.announce(1)
        assert lane.all_done.wait(CEILING_S), f"piece {piece} was left lying"
    end(threads)


def test_a_lane_that_a_busy_thread_refused_is_served_when_it_is_free() -> None:
    threads = DecodeThreads()
    gate, lane = Gate(), Queue()
    threads.add(gate, 1)
    threads.add(lane, 1)
    threads.announce(1)
    assert gate.entered.acquire(timeout=CEILING_S)
    lane.expected = 1
    lane.pieces.append(0)
    threads.announce(1)
    assert not lane.done
    gate.opened.set()
    assert lane.all_done.wait(CEILING_S)
    end(threads)


def test_two_lanes_with_work_take_turns() -> None:
    threads = DecodeThreads()
    log: list[str] = []

    class Named:
        def __init__(self, name: str, other_done: threading.Event) -> None:
            self.name, self.left, self.finished = name, 50, other_done

        def work(self) -> bool:
            if not self.left:
                return False
            self.left -= 1
            log.append(self.name)
            if len(log) == 100:
                self.finished.set()
            return True

    finished, gate = threading.Event(), Gate()
    threads.add(gate, 1)
    threads.announce(1)
    assert gate.entered.acquire(timeout=CEILING_S)  # both lanes are there before the first piece is taken
    threads.add(Named("a", finished), 1)
    threads.add(Named("b", finished), 1)
    threads.announce(1)
    gate.opened.set()
    assert finished.wait(CEILING_S)
    end(threads)
    assert log in (["a", "b"] * 50, ["b", "a"] * 50)  # the idle third lane gives neither a second turn


def test_threads_are_as_many_as_the_largest_lane_asked_for() -> None:
    threads = DecodeThreads()
    threads.add(Queue(), 2)
    threads.add(Queue(), 5)
    threads.add(Queue(), 3)
    names = sorted(thread.name for thread in threads._threads)
    assert names == [f"aioloader-decode-{index}" for index in range(5)]
    assert all(thread.daemon for thread in threads._threads)
    end(threads)
    assert not any(thread.is_alive() for thread in threads._threads)


def test_a_removed_lane_gets_no_more_work_and_may_be_removed_twice() -> None:
    threads = DecodeThreads()
    removed, kept = Queue(), Queue()
    threads.add(removed, 2)
    threads.add(kept, 2)
    threads.remove(removed)
    threads.remove(removed)
    removed.pieces.append(1)
    kept.expected = 1
    kept.pieces.append(2)
    threads.announce(2)
    assert kept.all_done.wait(CEILING_S)
    end(threads)
    assert removed.done == []


def test_ending_leaves_queued_work_and_lets_the_running_decode_return() -> None:
    threads = DecodeThreads()
    gate, lane = Gate(), Queue()
    threads.add(gate, 1)
    threads.announce(1)
    assert gate.entered.acquire(timeout=CEILING_S)
    threads.add(lane, 1)
    lane.pieces.append(1)
    threads.announce(1)
    threads.end()
    gate.opened.set()
    threads.join(time.monotonic() + CEILING_S)
    assert lane.done == []
    assert not any(thread.is_alive() for thread in threads._threads)


def test_a_decoder_that_does_not_return_is_named_and_its_thread_replaced(caplog: pytest.LogCaptureFixture) -> None:
    threads = DecodeThreads()
    gate = Gate(1)
    threads.add(gate, 1)
    threads.announce(1)
    assert gate.entered.acquire(timeout=CEILING_S)
    (stuck,) = threads._threads
    threads.remove(gate)
    with caplog.at_level(logging.WARNING, "aioloader"):
        threads.settle(gate, time.monotonic() + 0.05)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{stuck.name} is still in a decoder")

    other = Gate(1)  # another loader does not starve behind the stuck one
    threads.add(other, 1)
    threads.announce(1)
    assert other.entered.acquire(timeout=CEILING_S)
    other.opened.set()
    gate.opened.set()
    stuck.join(CEILING_S)
    threads.end()
    threads.join(time.monotonic() + CEILING_S)
    assert not stuck.is_alive()


def test_settling_waits_for_a_decode_that_ends_in_time(caplog: pytest.LogCaptureFixture) -> None:
    threads = DecodeThreads()
    gate = Gate(1)
    threads.add(gate, 1)
    threads.announce(1)
    assert gate.entered.acquire(timeout=CEILING_S)
    threading.Timer(0.05, gate.opened.set).start()
    threads.settle(gate, time.monotonic() + CEILING_S)
    assert threads._busy == {}
    assert caplog.records == []
    threads.end()
    threads.join(time.monotonic() + CEILING_S)


def test_a_thread_that_joins_itself_does_not_wait() -> None:
    threads = DecodeThreads()
    joined = threading.Event()

    class Joins:
        def work(self) -> bool:
            if joined.is_set():
                return False
            threads.end()
            threads.join(time.monotonic() + CEILING_S)
            joined.set()
            return True

    threads.add(Joins(), 1)
    threads.announce(1)
    assert joined.wait(CEILING_S / 3)
    end(threads)
