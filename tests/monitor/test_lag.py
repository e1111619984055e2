"""The lag of an event loop, on a clock that the test turns."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.monitor import lag as lag_module
from aioloader.monitor.lag import LoopLag

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.monitor.histogram import LatencyHistogram

EVERY_S = lag_module._EVERY_S


class Handle:
    """A timer that can be called off."""

    def __init__(self, due: float, callback: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.due = due
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The part of a loop that the lag uses, with time set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, callback: Callable[..., Any], *arguments: Any) -> Handle:
        self.timers.append(Handle(due, callback, arguments))
        return self.timers[-1]

    def fire(self, late_s: float) -> None:
        """Run the one timer that is set, ``late_s`` after it was due."""
        (timer,) = [timer for timer in self.timers if not timer.cancelled]
        self.timers.clear()
        self.now = timer.due + late_s
        timer.callback(*timer.arguments)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    return clock


def test_each_timer_is_recorded_with_how_late_it_was(clock: Clock) -> None:
    lag = LoopLag()
    lag.start()
    for late_s in (0.0, 0.001, 0.25):
        clock.fire(late_s)
    assert lag.histogram.count == 3
    assert lag.histogram.total_s == pytest.approx(0.251)
    assert lag.histogram.max_s == pytest.approx(0.25)
    assert clock.timers[0].due == pytest.approx(clock.now + EVERY_S)  # measured anew: lag does not add up


def test_starting_twice_sets_one_timer_and_stopping_calls_it_off(clock: Clock) -> None:
    lag = LoopLag()
    lag.start()
    lag.start()
    assert len(clock.timers) == 1
    lag.stop()
    lag.stop()
    assert clock.timers[0].cancelled
    lag.start()
    clock.fire(0.5)
    assert lag.histogram.count == 1


def test_the_histogram_is_told_twice_a_second_and_at_the_end(clock: Clock) -> None:
    told: list[int] = []

    def tell(histogram: LatencyHistogram) -> None:
        told.append(histogram.count)

    lag = LoopLag(tell)
    lag.start()
    for _ in range(25):
        clock.fire(0.0)
    assert told == [10, 20]
    assert 0.4 <= 10 * EVERY_S <= 0.6
    lag.stop()
    assert told == [10, 20, 25]
    lag.stop()
    assert told == [10, 20, 25]


def block(duration_s: float) -> None:
    """What a decoder that holds the GIL does to the loop."""
    time.sleep(duration_s)


@pytest.mark.blocks(reason="what is measured")
async def test_a_blocked_loop_shows_in_the_histogram() -> None:
    lag = LoopLag()
    lag.start()
    await asyncio.sleep(2 * EVERY_S)
    block(6 * EVERY_S)
    await asyncio.sleep(2 * EVERY_S)
    assert lag.histogram.max_s >= 4 * EVERY_S
    lag.stop()
