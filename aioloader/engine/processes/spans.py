"""What a child's recorder kept, on its way to the parent. Both read one clock: the machine's monotonic one."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from aioloader.monitor.recorder import Span
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from aioloader.monitor.recorder import Recorder

_STAGES: Final = ("fetch", "decode")
_MOST: Final = 256
"""Of one stage in one frame; a child sends some ten."""


def pack_spans(recorder: Recorder) -> dict[str, list[tuple[float, float, str]]]:
    """By stage: start, end and the key as it may be shown; the recorder forgets them."""
    return {
        stage: [(span.start_s, span.end_s, shown_key(span.what)) for span in recorder.tracks[stage].take()[-_MOST:]]
        for stage in _STAGES
    }


def unpack_spans(facts: dict[str, Any], pid: int) -> dict[str, list[Span]]:
    """The spans of process ``pid``, by stage; ValueError for what is no span."""
    unpacked: dict[str, list[Span]] = {}
    for stage in _STAGES:
        spans = [Span(float(start), float(end), str(what), pid) for start, end, what in facts[stage]]
        if len(spans) > _MOST or not all(isfinite(span.end_s) and 0 <= span.start_s <= span.end_s for span in spans):
            raise ValueError(f"spans of the stage {stage} that cannot be")
        unpacked[stage] = spans
    return unpacked
