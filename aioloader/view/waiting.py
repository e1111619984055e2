"""Where each second of a run went: what the consumer did, and what it waited for as far as that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aioloader.view.series import Layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.monitor.timeline import Span
    from aioloader.view.over_time import OverTime

STARTUP: Final = "first batch"
REFUSALS: Final = "refused by the store"
DECODING: Final = "decoding"
FETCHING: Final = "fetching"
BUDGET: Final = "byte budget"
UNKNOWN: Final = "not known"

_BUSY: Final = 0.5
"""A station that is busy for a smaller share is not what was waited for."""
_AROUND_S: Final = 0.5
"""Before and after a span, for its cause: requests are noted when they end, and a span may be shorter than one."""


def busiest(span: Span) -> str:
    """What was waited for in a span, by which station was nearest to what it can do."""
    if not span.last.batches:
        return STARTUP
    settings = span.last.settings
    shares = {
        DECODING: span.busy_lanes / settings.workers,
        FETCHING: span.in_flight / settings.concurrency,
        BUDGET: span.beat_share("blocked_beats"),
    }
    name = max(shares, key=lambda station: shares[station])
    if name != DECODING and span.count("throttled") > 0:
        return REFUSALS
    return name if shares[name] >= _BUSY else UNKNOWN


def _open_share(span: Span) -> float:
    """Of the time by the clock, with an open epoch."""
    return min(span.seconds / (span.last.at_s - span.first.at_s), 1.0)


def where_seconds_went(over_time: OverTime, cause: Callable[[Span], str]) -> list[Layer]:
    """Shares of each second: the consumer at work, its waiting by ``cause``, and the time in which no epoch was open.

    A wait is counted when it ends, so what is longer than its span is taken to have been in those before.
    """
    waits = over_time.held("data_wait_s", _open_share)
    active = [_open_share(span) for span in over_time.spans]
    causes = [cause(over_time.around(index, _AROUND_S)) if wait else "" for index, wait in enumerate(waits)]
    layers = [Layer("consumer at work", [share - wait for share, wait in zip(active, waits, strict=True)])]
    for name in dict.fromkeys(filter(None, causes)):
        values = [wait if found == name else 0.0 for found, wait in zip(causes, waits, strict=True)]
        layers.append(Layer(f"waiting: {name}", values))
    closed = Layer("no epoch open", [1 - share for share in active], is_quiet=True)
    if max(closed.values, default=0.0) > 0.01:
        layers.append(closed)
    return layers
