"""The histogram over a logarithmic axis: how long things took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.view.axis import log_axis, value_axis
from aioloader.view.frame import FULL, empty_figure, figure, frame, percent
from aioloader.view.markup import Markup, element, joined, plain, text
from aioloader.view.quantity import LATENCY, SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.monitor.histogram import Bin
    from aioloader.view.quantity import Quantity
    from aioloader.view.series import Event

_HEIGHT = 160


def histogram_chart(
    title: str,
    bins: Sequence[Bin],
    *,
    x: Quantity = LATENCY,
    y: Quantity = SAMPLES,
    events: Sequence[Event] = (),
) -> Markup:
    """One column a bin, as wide as the bin on an axis by logarithm; ``events`` mark quantiles."""
    shown = [one for one in bins if one.count > 0 and 0 <= one.low < one.high]
    if not shown:
        return empty_figure(title)
    x_axis = log_axis([edge for one in shown for edge in (one.low, one.high)], x)
    y_axis = value_axis((float(one.count) for one in shown), y)
    columns, hints = [], []
    for one in shown:
        left, right = x_axis.place(one.low), x_axis.place(one.high)
        level = 1 - y_axis.place(one.count)
        columns.append(
            element(
                "rect",
                class_="column s0",
                x=left * FULL,
                width=(right - left) * FULL,
                y=level * FULL,
                height=(1 - level) * FULL,
            )
        )
        hint = element("title", text(f"{x.write(one.low)} to {x.write(one.high)}: {y.write(one.count)}"))
        hints.append(
            element("rect", hint, class_="hint", x=percent(left), width=percent(right - left), y=0, height="100%")
        )
    fullest = max(shown, key=lambda one: one.count)
    sentence = (
        f"{plain(title)}: {y.write(sum(one.count for one in shown))} between {x.write(shown[0].low)} and "
        f"{x.write(shown[-1].high)}, most of them at {x.write(fullest.low)} to {x.write(fullest.high)}."
    )
    return figure(title, frame(sentence, x_axis, y_axis, _HEIGHT, joined(columns), joined(hints), events))
