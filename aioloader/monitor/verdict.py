"""What limits a run, and which knob moves it: one limit, with the figures behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Limit = Literal[
    "startup",
    "consumer",
    "network latency",
    "network bandwidth",
    "throttling",
    "disk",
    "cache disk",
    "fetch CPU",
    "decode CPU",
    "GIL",
    "memory budget",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The one thing that limits a run.

    ``sentence`` says it with its figures and what to do. ``knob`` is what to set, as code (``"concurrency=480"``),
    empty where no knob of the loader helps; ``gain`` is by how much samples a second should rise then (1: not at
    all). ``figures`` are the numbers behind it (seconds, samples a second, shares). ``keras`` are the numbers with
    which a ``keras.utils.PyDataset`` that reads one sample after another would do the same: ``workers``,
    ``max_queue_size``, ``use_multiprocessing``; empty while nothing is known.
    """

    limit: Limit
    sentence: str
    knob: str = ""
    gain: float = 1.0
    figures: Mapping[str, float] = field(default_factory=dict)
    keras: Mapping[str, int | bool] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "limit": self.limit,
            "sentence": self.sentence,
            "knob": self.knob,
            "gain": self.gain,
            "figures": dict(self.figures),
            "keras": dict(self.keras),
        }
