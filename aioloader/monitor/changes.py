"""A change of a knob, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnobChange:
    """At ``at_s`` (monotonic seconds) ``knob`` became ``value``, because of ``reason``; a value equal to the former one
    says what was considered and left."""

    at_s: float
    knob: str
    value: int | bool
    reason: str
