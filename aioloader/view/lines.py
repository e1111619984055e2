"""The line chart."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from aioloader.view.axis import log_axis, plain_axis, shown_values, value_axis
from aioloader.view.frame import FULL, empty_figure, figure, frame, legend, percent, series_class
from aioloader.view.markup import Markup, element, joined, number, plain, text
from aioloader.view.quantity import TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.view.axis import Axis
    from aioloader.view.quantity import Quantity
    from aioloader.view.series import Event, Series

_HEIGHT = 180
_MOST_HINTS = 60
"""Places with a tooltip; more would only make the page larger."""


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    y: Quantity,
    x: Quantity = TIME,
    x_base: int = 0,
    top: float | None = None,
    events: Sequence[Event] = (),
) -> Markup:
    """Some lines over one axis of time, or of something else.

    ``x_base`` 2 or 10 makes the x axis logarithmic and says what it is marked at. ``top`` fixes the upper end of the y
    axis. Values that are not finite are left out.
    """
    drawn = [(index, one, _finite(one.points)) for index, one in enumerate(series)]
    across = [point[0] for _, _, points in drawn for point in points]
    if not across:
        return empty_figure(title)
    happened = shown_values(event.at for event in events)
    spread = [*across, *happened] if happened else across
    x_axis = log_axis(spread, x, base=x_base) if x_base else plain_axis(spread, x)
    y_axis = value_axis((point[1] for _, _, points in drawn for point in points), y, top)
    paths, dots = [], []
    for index, one, points in drawn:
        if not points:
            continue
        places = [(x_axis.place(at), 1 - y_axis.place(value)) for at, value in points]
        paths.append(element("path", d=_path(places, one.is_stepped), class_=f"line {series_class(index)}"))
        if one.has_dots or len(places) == 1:
            dots += [
                element("circle", cx=percent(left), cy=percent(down), r=3.5, class_=f"dot {series_class(index)}")
                for left, down in places
            ]
    hints = _hints([(one, points) for _, one, points in drawn], x_axis, x, y)
    sentence = _sentence(title, [(one.name, points) for _, one, points in drawn if points], x, y)
    return figure(
        title,
        legend([one.name for one in series], [series_class(index) for index in range(len(series))], are_lines=True),
        frame(sentence, x_axis, y_axis, _HEIGHT, joined(paths), joined([*dots, *hints]), events),
    )


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted((at, value) for at, value in points if isfinite(at) and isfinite(value))


def _path(places: Sequence[tuple[float, float]], is_stepped: bool) -> str:
    parts, before = [], None
    for left, down in places:
        x, y = number(left * FULL), number(down * FULL)
        if before is None:
            parts.append(f"M{x} {y}")
        elif is_stepped:
            parts.append(f"H{x}" if y == before else f"H{x}V{y}")
        else:
            parts.append(f"L{x} {y}")
        before = y
    return "".join(parts)


def _hints(
    drawn: Sequence[tuple[Series, list[tuple[float, float]]]], x_axis: Axis, x: Quantity, y: Quantity
) -> list[Markup]:
    """Invisible columns; each says the values there."""
    every = sorted({at for _, points in drawn for at, _ in points})
    chosen = every[:: -(-len(every) // _MOST_HINTS)]
    places = [x_axis.place(at) for at in chosen]
    edges = [0.0, *((left + right) / 2 for left, right in pairwise(places)), 1.0]
    columns = []
    for at, left, right in zip(chosen, edges[:-1], edges[1:], strict=True):
        values = [
            f"{plain(one.name, 40)} {y.write(value)}"
            for one, points in drawn
            if (value := _value(points, at)) is not None
        ]
        label = f"{x.write(at)}: " + ", ".join(values)
        hint = element("title", text(label))
        columns.append(
            element("rect", hint, class_="hint", x=percent(left), width=percent(right - left), y=0, height="100%")
        )
    return columns


def _value(points: Sequence[tuple[float, float]], at: float) -> float | None:
    """The last one at or before ``at``."""
    low, high = 0, len(points)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if points[middle][0] <= at else (low, middle)
    return points[low - 1][1] if low else None


def _sentence(title: str, drawn: Sequence[tuple[str, list[tuple[float, float]]]], x: Quantity, y: Quantity) -> str:
    begin, end = min(points[0][0] for _, points in drawn), max(points[-1][0] for _, points in drawn)
    parts = []
    for name, points in drawn[:8]:
        values = [value for _, value in points]
        parts.append(f"{plain(name, 60)} from {y.write(min(values))} to {y.write(max(values))}")
    more = f", and {len(drawn) - 8} more" if len(drawn) > 8 else ""
    return f"{plain(title)}, from {x.write(begin)} to {x.write(end)}: {'; '.join(parts)}{more}."
