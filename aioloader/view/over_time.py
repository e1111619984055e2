"""A timeline as what charts draw: rates by the clock, from sums that are noted late."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from aioloader.monitor.timeline import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.monitor.timeline import Moment, Timeline


MOST_SPANS: Final = 256
_SHORTEST_S: Final = 0.1
"""The end of an epoch is noted too; a batch that falls into the few milliseconds before it would look like a peak."""


def _apart(moments: Sequence[Moment]) -> list[Moment]:
    """Without those that another one follows at once."""
    kept: list[Moment] = []
    for moment in moments:
        if len(kept) > 1 and moment.at_s - kept[-1].at_s < _SHORTEST_S:
            kept.pop()
        kept.append(moment)
    return kept


class OverTime:
    """The spans of a run in seconds since its first moment. Rates are a second of the clock, so that an area is what
    was counted, also where no epoch was open for a while."""

    def __init__(self, timeline: Timeline, most: int = MOST_SPANS) -> None:
        """Moments are left out until there are no more than ``most`` spans: there are not more pixels to see them."""
        moments = timeline.moments
        kept = [*moments[: -1 : -(-len(moments) // most)], *moments[-1:]] if moments else []
        spans = [Span(first, last) for first, last in pairwise(_apart(kept)) if last.at_s > first.at_s]
        self.spans: Sequence[Span] = spans
        self.start_s = spans[0].first.at_s if spans else 0.0
        self.edges = [span.first.at_s - self.start_s for span in spans]
        if spans:
            self.edges.append(spans[-1].last.at_s - self.start_s)

    def around(self, index: int, margin_s: float) -> Span:
        """Span ``index`` with what lies within ``margin_s`` before and after it."""
        first, last = self.spans[index].first, self.spans[index].last
        for span in reversed(self.spans[:index]):
            if self.spans[index].first.at_s - span.first.at_s > margin_s:
                break
            first = span.first
        for span in self.spans[index + 1 :]:
            if span.last.at_s - self.spans[index].last.at_s > margin_s:
                break
            last = span.last
        return Span(first, last)

    def since_start(self, at_s: float) -> float:
        """A time of the same clock in seconds since the start; what was earlier was at the start."""
        return max(at_s - self.start_s, 0.0)

    def lengths(self) -> list[float]:
        """Of each span by the clock."""
        return [span.last.at_s - span.first.at_s for span in self.spans]

    def rates(self, name: str) -> list[float]:
        """By how much the sum ``name`` grew a second, for each span."""
        return [max(span.count(name), 0.0) / seconds for span, seconds in zip(self.spans, self.lengths(), strict=True)]

    def held(self, name: str, most: Callable[[Span], float]) -> list[float]:
        """``rates`` of a sum of seconds that is noted when something ends: what is beyond ``most`` of a span (so many
        at a time) was before it."""
        held, late = [], 0.0
        for span, seconds in zip(reversed(self.spans), reversed(self.lengths()), strict=True):
            found = max(span.count(name), 0.0) + late
            fitting = min(found, most(span) * seconds)
            late = found - fitting
            held.append(fitting / seconds)
        return held[::-1]

    def points(self, values: Sequence[float]) -> list[tuple[float, float]]:
        """Values of spans as the points of a stepped line."""
        return list(zip(self.edges, [*values, *values[-1:]], strict=True)) if values else []

    def settings(self, value: Callable[[Moment], float]) -> list[tuple[float, float]]:
        """A setting of each span as the points of a stepped line: a moment is noted before what it leads to is set."""
        return self.points([value(span.last) for span in self.spans])
