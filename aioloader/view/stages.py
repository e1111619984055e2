"""The stage timeline: lanes, and when something was being done in each."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from aioloader.view.axis import plain_axis
from aioloader.view.frame import FULL, empty_figure, figure, frame, series_class
from aioloader.view.markup import Markup, element, joined, plain, text
from aioloader.view.quantity import LATENCY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.view.quantity import Quantity
    from aioloader.view.series import Work

_LANE = 40
_NAME = 18
_WORK = 16


def stage_chart(title: str, works: Sequence[Work], *, lanes: Sequence[str] = (), x: Quantity = LATENCY) -> Markup:
    """One lane a row, in the order of ``lanes`` and then as they come; works that overlap shine through."""
    shown = [work for work in works if isfinite(work.begin) and isfinite(work.end) and work.begin <= work.end]
    rows = list(dict.fromkeys([*lanes, *(work.lane for work in shown)]))
    if not shown:
        return empty_figure(title)
    axis = plain_axis((edge for work in shown for edge in (work.begin, work.end)), x)
    height = _LANE * len(rows)
    drawn = []
    for work in shown:
        row = rows.index(work.lane)
        left, right = axis.place(work.begin) * FULL, axis.place(work.end) * FULL
        hint = f"{plain(work.lane, 40)}, {x.write(work.begin)} to {x.write(work.end)}"
        drawn.append(
            element(
                "rect",
                element("title", text(f"{hint}: {plain(work.text)}" if work.text else hint)),
                class_=f"work {series_class(row)}",
                x=left,
                width=max(right - left, 0.5),  # one pixel or so: nothing that was done is invisible
                y=(row * _LANE + _NAME) / height * FULL,
                height=_WORK / height * FULL,
            )
        )
    names = [
        element(
            "foreignObject",
            element("div", element("b", text(name)), class_="cut", title=plain(name)),
            x=0,
            y=row * _LANE,
            width="100%",
            height=_NAME,
        )
        for row, name in enumerate(rows)
    ]
    sentence = (
        f"{plain(title)}: {len(shown):,} pieces of work in the lanes {', '.join(plain(row, 40) for row in rows[:12])}."
    )
    return figure(title, frame(sentence, axis, None, height, joined(drawn), joined(names)))
