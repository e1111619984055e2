"""The frame around every drawing: title, legend, axes with ticks, numbered events.

A drawing is stretched to the width that there is, text is not: lines and areas lie in an inner `<svg>` with a `viewBox`
and ``preserveAspectRatio="none"``, everything written lies beside it at percentages of the same box, in the padding of
the outer `<svg>`. So one drawing serves all widths, letters keep their size, and ticks beyond those that a phone has
room for are hidden by the style. (The width of an inner `<svg>` by ``calc()`` would do without the padding, but not in
all browsers.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.view.markup import NOTHING, Markup, element, joined, number, plain, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.view.axis import Axis
    from aioloader.view.series import Event

FULL = 1000.0
"""The side of the square that drawings are drawn in."""

_COLOURS, _DASHES = 7, 5
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 26, 24, 28
_LEFT_BARE, _TOP_BARE = 8, 4  # without a y axis
_TITLE_ROW = 18
_BADGE_ROW = 18
_SHOWN_EVENTS = 6
_MOST_EVENTS = 60
_LONGEST_SIGN = 6
_LETTER, _WIDE_BOX, _NARROW_BOX = 10.0, 800.0, 280.0
"""Pixels: a letter of a sign, and how wide the box is at least with room and without."""


def series_class(index: int) -> str:
    """The classes that give series ``index`` its colour and its dashes: 35 that differ."""
    return f"s{index % _COLOURS} d{index % _DASHES}"


def percent(place: float) -> str:
    """A place (0 to 1) in the frame's box."""
    return f"{number(place * 100)}%"


def figure(title: str, *parts: Markup) -> Markup:
    """A chart: its title and what belongs to it."""
    return element("figure", element("figcaption", text(title)), *parts, class_="chart")


def empty_figure(title: str) -> Markup:
    """A chart without anything to show says so."""
    return figure(title, element("p", text("Nothing was recorded."), class_="empty"))


def legend(names: Sequence[str], classes: Sequence[str], *, are_lines: bool) -> Markup:
    """Which colour is which; nothing for a single one."""
    if len(names) < 2:
        return NOTHING
    entries = (_legend_entry(name, colour, are_lines) for name, colour in zip(names, classes, strict=True))
    return element("ul", *entries, class_="legend")


def _legend_entry(name: str, colour: str, are_lines: bool) -> Markup:
    sample = (
        element("line", x1=0, x2=24, y1=6, y2=6, class_=f"line {colour}")
        if are_lines
        else element("rect", x=4, y=0, width=12, height=12, class_=f"area {colour}")
    )
    swatch = element("svg", sample, width=24 if are_lines else 20, height=12, aria_hidden="true")
    return element("li", swatch, element("span", text(name)))


def frame(
    sentence: str,
    x: Axis,
    y: Axis | None,
    height: float,
    drawing: Markup,
    overlay: Markup = NOTHING,
    events: Sequence[Event] = (),
) -> Markup:
    """The outer `<svg>`, ``height`` pixels of it for the drawing, and the list of events below.

    ``drawing`` is in a square of `FULL` units with y downwards, ``overlay`` in pixels and percentages.
    """
    marks, listed = _events(events, x)
    left, top = (_LEFT, _TOP) if y else (_LEFT_BARE, _TOP_BARE)
    top += _BADGE_ROW if marks else 0
    bottom = _BOTTOM + (_TITLE_ROW if x.title else 0)
    stretched = element(
        "svg",
        drawing,
        class_="drawing",
        viewBox=f"0 0 {FULL:.0f} {FULL:.0f}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
    )
    titles = [element("text", text(y.title), class_="unit", x=4 - left, y=12 - top)] if y else []
    if x.title:
        titles.append(element("text", text(x.title), class_="unit", x="50%", y="100%", dy=38, text_anchor="middle"))
    svg = element(
        "svg",
        *titles,
        _grid(x, y),
        stretched,
        marks,
        overlay,
        class_="plot",
        role="img",
        aria_label=sentence,
        style=f"height:{top + height + bottom:.0f}px;padding:{top}px {_RIGHT}px {bottom}px {left}px",
    )
    return Markup(svg + listed)


def _grid(x: Axis, y: Axis | None) -> Markup:
    parts = []
    for tick in y.ticks if y else ():
        level = percent(1 - tick.place)
        parts += [
            element("line", class_="grid", x1=0, x2="100%", y1=level, y2=level),
            element("text", text(tick.label), class_="tick", x=-8, y=level, dy="0.35em", text_anchor="end"),
        ]
    for tick in x.ticks:
        across, extra = percent(tick.place), " extra" if tick.is_extra else ""
        label = element(
            "text", text(tick.label), x=across, y="100%", dy=18, text_anchor="middle", class_=f"tick{extra}"
        )
        parts += [element("line", class_=f"grid{extra}", x1=across, x2=across, y1=0, y2="100%"), label]
    return joined(parts)


def _events(events: Sequence[Event], x: Axis) -> tuple[Markup, Markup]:
    """A line with its number or sign for each, and what the numbers mean; signs too close to the one before go."""
    shown = sorted(events, key=lambda event: event.at)[:_MOST_EVENTS]
    marks: list[Markup] = []
    entries: list[Markup] = []
    free_wide = free_narrow = -1.0  # where the last sign ends
    for event in shown:
        if not event.sign:
            entries.append(element("li", text(event.text)))
        place = x.place(event.at)
        across = percent(place)
        line = element("line", class_="event", x1=across, x2=across, y1=-4, y2="100%")
        badge = NOTHING
        sign = plain(event.sign or str(len(entries)), _LONGEST_SIGN)
        half = len(sign) * _LETTER / 2
        if place - half / _WIDE_BOX >= free_wide:
            free_wide = place + half / _WIDE_BOX
            is_extra = place - half / _NARROW_BOX < free_narrow
            if not is_extra:
                free_narrow = place + half / _NARROW_BOX
            classes = "badge extra" if is_extra else "badge"
            badge = element("text", text(sign), class_=classes, x=across, y=-8, text_anchor="middle")
        marks.append(element("g", element("title", text(event.text)), line, badge))
    if len(events) > len(shown):
        entries.append(element("li", text(f"and {len(events) - len(shown):,} more")))
    return joined(marks), _event_list(entries)


def _event_list(entries: list[Markup]) -> Markup:
    if not entries:
        return NOTHING
    listed = element("ol", *entries[:_SHOWN_EVENTS], class_="events")
    rest = entries[_SHOWN_EVENTS:]
    if not rest:
        return listed
    summary = element("summary", text(f"{len(rest)} more"))
    return Markup(listed + element("details", summary, element("ol", *rest, class_="events", start=_SHOWN_EVENTS + 1)))
