"""Horizontal bars with whiskers."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from aioloader.view.axis import value_axis
from aioloader.view.frame import FULL, empty_figure, figure, frame
from aioloader.view.markup import Markup, element, joined, plain, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.view.axis import Axis
    from aioloader.view.quantity import Quantity
    from aioloader.view.series import Bar

_ROW = 44
_NAME = 18
_BAR = 16


def bar_chart(title: str, bars: Sequence[Bar], *, x: Quantity) -> Markup:
    """One bar a row, from zero to ``middle`` with a whisker from ``low`` to ``high``; its name and figures above it."""
    shown = [bar for bar in bars if all(map(isfinite, (bar.middle, bar.low, bar.high)))]
    if not shown:
        return empty_figure(title)
    axis = value_axis((value for bar in shown for value in (bar.middle, bar.low, bar.high)), x)
    height = _ROW * len(shown)
    drawing, names = [], []
    for row, bar in enumerate(shown):
        top = row * _ROW + _NAME
        drawing.append(_bar(bar, axis, top / height * FULL, _BAR / height * FULL))
        names.append(_name(bar, row * _ROW, x))
    best = max(shown, key=lambda bar: bar.middle)
    sentence = f"{plain(title)}: {len(shown)} bars; the longest is {plain(best.name, 60)} with {x.write(best.middle)}."
    return figure(title, frame(sentence, axis, None, height, joined(drawing), joined(names)))


def _bar(bar: Bar, axis: Axis, top: float, thickness: float) -> Markup:
    zero, end = sorted((axis.place(0.0) * FULL, axis.place(bar.middle) * FULL))
    low, high = axis.place(bar.low) * FULL, axis.place(bar.high) * FULL
    middle, cap = top + thickness / 2, thickness / 3
    parts = [element("rect", class_="bar s0", x=zero, width=end - zero, y=top, height=thickness)]
    if high > low:
        whisker = f"M{low:.2f} {middle:.2f}H{high:.2f}"
        caps = "".join(f"M{side:.2f} {middle - cap:.2f}V{middle + cap:.2f}" for side in (low, high))
        parts.append(element("path", d=whisker + caps, class_="whisker"))
    return joined(parts)


def _name(bar: Bar, y: float, x: Quantity) -> Markup:
    figures = x.write_bare(bar.middle)
    if bar.high > bar.low:
        figures += f" ({x.write_bare(bar.low)} to {x.write_bare(bar.high)})"
    label = element(
        "div",
        element("b", text(bar.name)),
        element("span", text(figures)),
        *([element("i", text(bar.note))] if bar.note else ()),
        class_="cut",
        title=f"{plain(bar.name)}: {figures}{'; ' + plain(bar.note) if bar.note else ''}",
    )
    return element("foreignObject", label, x=0, y=y, width="100%", height=_NAME)
