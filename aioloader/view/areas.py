"""The stacked area chart: how a whole was made up over time."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from aioloader.view.axis import plain_axis, value_axis
from aioloader.view.frame import FULL, empty_figure, figure, frame, legend, percent, series_class
from aioloader.view.markup import Markup, element, joined, number, plain, text
from aioloader.view.quantity import TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.view.quantity import Quantity
    from aioloader.view.series import Event, Layer

_HEIGHT = 200
_MOST_HINTS = 60


def area_chart(
    title: str,
    edges: Sequence[float],
    layers: Sequence[Layer],
    *,
    y: Quantity,
    x: Quantity = TIME,
    top: float | None = None,
    events: Sequence[Event] = (),
) -> Markup:
    """Layers on top of each other, the first at the bottom; ``layer.values[i]`` (0 or more) holds from ``edges[i]`` to
    ``edges[i + 1]``, so an area is what it stands for. ``top`` fixes the upper end of the y axis, as 1 for shares.
    """
    spans = [
        (begin, end, [max(layer.values[index], 0.0) for layer in layers])
        for index, (begin, end) in enumerate(pairwise(edges))
        if begin < end and all(map(isfinite, (begin, end, *(layer.values[index] for layer in layers))))
    ]
    if not spans or not layers:
        return empty_figure(title)
    x_axis = plain_axis([spans[0][0], spans[-1][1]], x)
    y_axis = value_axis([min(sum(values), 1e300) for _, _, values in spans], y, top)
    lower = [0.0] * len(spans)
    colours = ["quiet" if layer.is_quiet else series_class(index) for index, layer in enumerate(layers)]
    paths = []
    for layer in range(len(layers)):
        upper = [below + values[layer] for below, (_, _, values) in zip(lower, spans, strict=True)]
        there, back = [], []
        for (begin, end, _), above, below in zip(spans, upper, lower, strict=True):
            left, right = number(x_axis.place(begin) * FULL), number(x_axis.place(end) * FULL)
            high, low = (number((1 - y_axis.place(level)) * FULL) for level in (above, below))
            there.append(f"{left} {high}L{right} {high}")
            back.append(f"{right} {low}L{left} {low}")
        outline = f"M{'L'.join(there)}L{'L'.join(reversed(back))}Z"
        classes = f"area {colours[layer]}"
        paths.append(element("path", d=outline, class_=classes))
        lower = upper
    hints = []
    for begin, end, values in spans[:: -(-len(spans) // _MOST_HINTS)]:
        parts = [f"{plain(layer.name, 40)} {y.write(value)}" for layer, value in zip(layers, values, strict=True)]
        hint = element("title", text(f"{x.write(begin)} to {x.write(end)}: {', '.join(parts)}"))
        at, until = x_axis.place(begin), x_axis.place(end)
        hints.append(element("rect", hint, class_="hint", x=percent(at), width=percent(until - at), y=0, height="100%"))
    return figure(
        title,
        legend([layer.name for layer in layers], colours, are_lines=False),
        frame(_sentence(title, spans, layers, y), x_axis, y_axis, _HEIGHT, joined(paths), joined(hints), events),
    )


def _sentence(
    title: str, spans: Sequence[tuple[float, float, list[float]]], layers: Sequence[Layer], y: Quantity
) -> str:
    length = sum(end - begin for begin, end, _ in spans)
    means = [
        sum((end - begin) / length * values[index] for begin, end, values in spans) for index in range(len(layers))
    ]
    parts = [f"{plain(layer.name, 60)} {y.write(mean)}" for layer, mean in zip(layers, means, strict=True)]
    return f"{plain(title)}; on average: {', '.join(parts)}."
