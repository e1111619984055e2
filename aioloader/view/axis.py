"""Axes: where a value lies between 0 and 1, and the round numbers that are marked."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING

from aioloader.view.quantity import short, tick_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aioloader.view.quantity import Quantity

_HUGE = 1e300
_SLACK = 1e-6  # of a step: sums of floats that should be round
_LEAST_POSITIVE = 1e-12

WIDE_TICKS = 9
"""At most so many on a horizontal axis where there is room; a third to half of them on a phone."""
NARROW_TICKS = 5
_VALUE_TICKS = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """A marked value: where it is (0 to 1) and what is written there; ``is_extra`` ones only where there is room."""

    place: float
    label: str
    is_extra: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``low`` to ``high``, evenly or by logarithm."""

    low: float
    high: float
    ticks: Sequence[Tick]
    title: str
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where ``value`` lies: 0 at the low end, 1 at the high end, never outside."""
        return _place(value, self.low, self.high, is_log=self.is_log)


def _place(value: float, low: float, high: float, *, is_log: bool) -> float:
    if is_log:
        value, low, high = log10(max(value, low)), log10(low), log10(high)
    return min(max((value - low) / (high - low), 0.0), 1.0)


def shown_values(values: Iterable[float]) -> list[float]:
    """Those that can be drawn, within what can be subtracted from each other."""
    return [min(max(value, -_HUGE), _HUGE) for value in values if isfinite(value)]


def round_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, … that divides ``span`` into at most ``most`` parts."""
    wanted = span / most
    power = 10.0 ** floor(log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * (1 - 1e-9))


def _multiples(low: float, high: float, step: float) -> range:
    return range(ceil(low / step - _SLACK), floor(high / step + _SLACK) + 1)


def plain_axis(values: Iterable[float], quantity: Quantity) -> Axis:
    """A horizontal axis exactly as long as the values."""
    known = shown_values(values) or [0.0]
    low, high = _widened(min(known), max(known))
    return _even(low, high, quantity, WIDE_TICKS - 1, NARROW_TICKS - 1)


def value_axis(values: Iterable[float], quantity: Quantity, top: float | None = None) -> Axis:
    """An axis from zero to a round number at or above the largest value, or to ``top``."""
    known = [0.0, *shown_values(values)]
    low, high = min(known), max(known) if top is None else top
    if high == low:
        high = low + quantity.units[0].size
    unit = quantity.unit(max(abs(low), abs(high)))
    step = round_step(max(high - low, 1e-290) / unit.size, _VALUE_TICKS - 1) * unit.size
    if top is None:
        low, high = step * floor(low / step + _SLACK), step * ceil(high / step - _SLACK)
    low, high = _widened(low, high)
    return _even(low, high, quantity, _VALUE_TICKS, _VALUE_TICKS)


def _widened(low: float, high: float) -> tuple[float, float]:
    """A span that can be divided by."""
    least = max(abs(low), abs(high)) * 1e-9
    if high - low > max(least, 1e-280):
        return low, high
    return low, low + max(least * 1e9, 1.0) if abs(low) < _HUGE / 10 else low + _HUGE


def _even(low: float, high: float, quantity: Quantity, wide: int, narrow: int) -> Axis:
    unit = quantity.unit(max(abs(low), abs(high)))
    step = round_step((high - low) / unit.size, wide) * unit.size
    numbers = _multiples(low, high, step)
    every = next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= narrow + 1e-9)
    largest = max(abs(low), abs(high)) / unit.size
    ticks = [
        Tick(
            _place(index * step, low, high, is_log=False),
            tick_label(index * step / unit.size, step / unit.size, largest),
            is_extra=index % every != 0,
        )
        for index in numbers
    ]
    return Axis(low, high, ticks, quantity.title(unit))


def log_axis(values: Iterable[float], quantity: Quantity, *, base: int = 10) -> Axis:
    """A horizontal axis by logarithm, marked at powers of ``base`` (with base 10 also at 2 and 5 times them)."""
    known = [max(value, _LEAST_POSITIVE) for value in shown_values(values)] or [1.0]
    low, high = min(known), max(known)
    if high < low * 1.001:
        low, high = low / base, high * base
    marks = _log_marks(low, high, base)
    stride = ceil(len(marks) / (NARROW_TICKS - 1))
    has_units = len(quantity.units) > 1
    ticks = [
        Tick(
            _place(mark, low, high, is_log=True),
            quantity.write(mark) if has_units else short(mark),
            is_extra=index % stride != 0,
        )
        for index, mark in enumerate(marks)
    ]
    return Axis(low, high, ticks, quantity.name if has_units else quantity.title(quantity.units[0]), is_log=True)


def _log_marks(low: float, high: float, base: int) -> list[float]:
    """Round numbers between, at most `WIDE_TICKS`."""
    logarithm = log10(base)
    first, last = floor(log10(low) / logarithm), ceil(log10(high) / logarithm)
    ladder = [(1, 2, 5), (1,)] if base == 10 else [(1,)]
    for every in range(1, last - first + 2):
        for steps in ladder if every == 1 else [(1,)]:
            marks = [float(base) ** power * step for power in range(first, last + 1, every) for step in steps]
            marks = [mark for mark in marks if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
            if len(marks) <= WIDE_TICKS:
                return marks
    return []
