"""The board: what a child was in when it died, readable by its parent."""

from __future__ import annotations

import os
import threading

from aioloader.engine.processes.board import LANES, Board
from aioloader.monitor.histogram import LatencyHistogram


def pair() -> tuple[Board, Board]:
    """The parent's board and the child's, of the same memory."""
    parent = Board()
    return parent, Board(os.dup(parent.descriptor))


def test_the_parent_sees_who_is_in_user_code_and_nobody_else() -> None:
    parent, child = pair()
    assert parent.suspects() == []
    child.enter(3, 0)
    child.enter(3, 17)
    child.enter(9, 17)
    assert sorted(parent.suspects()) == [(3, 0), (3, 17), (9, 17)]
    child.leave(3, 17)
    child.leave(3, 17)  # a second time changes nothing
    assert sorted(parent.suspects()) == [(3, 0), (9, 17)]
    child.enter(3, 18)
    assert sorted(parent.suspects()) == [(3, 0), (3, 18), (9, 17)]
    for stream, ticket in ((3, 0), (3, 18), (9, 17)):
        child.leave(stream, ticket)
    assert parent.suspects() == []
    parent.close()


def test_more_samples_than_lanes_are_no_error_and_lanes_come_back() -> None:
    parent, child = pair()
    for ticket in range(LANES + 5):
        child.enter(1, ticket)
    assert sorted(parent.suspects()) == [(1, ticket) for ticket in range(LANES)]
    for ticket in range(LANES + 5):
        child.leave(1, ticket)
    child.enter(2, 7)
    assert parent.suspects() == [(2, 7)]
    parent.close()


def test_many_threads_enter_and_leave_without_losing_a_lane() -> None:
    parent, child = pair()

    def work(stream: int) -> None:
        for ticket in range(300):
            child.enter(stream, ticket)
            assert (stream, ticket) in parent.suspects()
            child.leave(stream, ticket)

    threads = [threading.Thread(target=work, args=(stream,)) for stream in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parent.suspects() == []
    for ticket in range(LANES):
        child.enter(1, ticket)
    assert len(parent.suspects()) == LANES
    parent.close()


def test_the_childs_lag_is_added_to_what_the_parent_knows() -> None:
    parent, child = pair()
    lag, total = LatencyHistogram(), LatencyHistogram()
    for duration_s in (0.001, 0.002, 0.3):
        lag.record(duration_s)
    child.write_lag(lag)
    total.record(0.5)
    parent.add_lag_to(total)
    assert total.count == 4
    assert abs(total.total_s - 0.803) < 1e-6
    assert total.max_s == 0.5
    assert sum(total.counts) == 4
    child.write_lag(lag)  # written anew, not added
    again = LatencyHistogram()
    parent.add_lag_to(again)
    assert (again.count, again.counts) == (3, lag.counts)
    parent.close()


def test_closing_lets_go_of_the_descriptor_once() -> None:
    board = Board()
    descriptor = board.descriptor
    board.close()
    board.close()
    try:
        os.fstat(descriptor)
    except OSError:
        return
    raise AssertionError("the descriptor is still open")
