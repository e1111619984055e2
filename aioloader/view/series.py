"""What charts are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Series:
    """One line: ``points`` are (x, y), in rising x. ``is_stepped``: a value holds until the next one.
    ``has_dots`` marks each point, for few of them."""

    name: str
    points: Sequence[tuple[float, float]]
    is_stepped: bool = False
    has_dots: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a stacked area: ``values[i]`` holds from edge i to edge i+1. ``is_quiet`` ones are grey: time in
    which nothing was done."""

    name: str
    values: Sequence[float]
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something at ``at`` on the x axis. It gets a number and its text is listed below the chart, or it gets the few
    letters of ``sign`` (``"p99"``) and its text is shown when pointed at."""

    at: float
    text: str
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with its spread: ``low`` and ``high`` are the whisker's ends, equal to ``middle`` where unknown."""

    name: str
    middle: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """Something was being done in ``lane`` from ``begin`` to ``end``; ``text`` is shown when pointed at."""

    lane: str
    begin: float
    end: float
    text: str = ""
