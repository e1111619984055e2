"""All that was found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aioloader.cli.tuning.contenders import Recommendation, against, recommended
from aioloader.cli.tuning.paste import program
from aioloader.cli.tuning.watched import knobs_of
from aioloader.tune.keras_numbers import keras_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aioloader.cli.tuning.contenders import Lane
    from aioloader.cli.tuning.decodes import Decodes
    from aioloader.cli.tuning.listing import Listed
    from aioloader.cli.tuning.requests import Requests
    from aioloader.cli.tuning.watched import Watched


@dataclass(kw_only=True)
class Findings:
    """What is None was not reached. ``step_time_s`` is 0 for a model that waits for nothing."""

    listed: Listed
    decode: str
    batch_size: int
    step_time_s: float
    cores: int
    largest_bytes: int | None
    requests: Requests | None = None
    decodes: Decodes | None = None
    watched: Watched | None = None
    lanes: Sequence[Lane] = field(default_factory=tuple)
    is_interrupted: bool = False
    failure: str = ""
    """What ended it before its time."""

    @property
    def recommendation(self) -> Recommendation | None:
        """None before the loader has run."""
        if self.lanes and self.lanes[0].rates:
            return recommended(self.lanes)
        if self.watched is None:
            return None
        reason = 'what "auto" came to; there was no time to check it against others'
        return Recommendation(self.watched.ran_with, reason, self.watched.samples_per_s)

    @property
    def code(self) -> str:
        """The program to paste; "" before the loader has run."""
        found = self.recommendation
        if found is None:
            return ""
        return program(self.listed, self.decode, self.batch_size, found.settings, largest_bytes=self.largest_bytes)

    @property
    def keras(self) -> Mapping[str, int | bool]:
        """The equivalent numbers of a PyDataset; empty before the loader has run."""
        found, watched = self.recommendation, self.watched
        if found is None or watched is None or watched.span is None:
            return {}
        span = watched.span
        holds_gil = found.settings.use_multiprocessing
        return keras_numbers(found.samples_per_s, span.fetch_mean_s, span.decode_mean_s, holds_gil=holds_gil)

    @property
    def wanted_per_s(self) -> float:
        """Samples a second: what the model takes, or without one what was read."""
        if self.step_time_s:
            return self.batch_size / self.step_time_s
        return self.watched.samples_per_s if self.watched is not None else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = self.recommendation
        return {
            "place": self.listed.name,
            "samples": len(self.listed.data),
            "samples_in_all": self.listed.total,
            "decode": self.decode,
            "batch_size": self.batch_size,
            "step_time_s": self.step_time_s,
            "cores": self.cores,
            "is_interrupted": self.is_interrupted,
            "failure": self.failure,
            "requests": None if self.requests is None else self.requests.as_dict(),
            "decodes": None if self.decodes is None else self.decodes.as_dict(),
            "run": None if self.watched is None else self.watched.as_dict(),
            "compared": [self._compared(lane) for lane in self.lanes],
            "recommended": None if found is None else knobs_of(found.settings) | found.as_dict(),
            "code": self.code,
            "keras": dict(self.keras),
        }

    def _compared(self, lane: Lane) -> dict[str, Any]:
        found = against(lane, self.lanes[0])
        return {
            "name": lane.contender.name,
            **knobs_of(lane.contender.settings),
            "samples_per_s": list(lane.rates),
            "failure": lane.failure,
            "ratio": None if found is None else found.ratio,
            "ratio_low": None if found is None else found.low,
            "ratio_high": None if found is None else found.high,
        }
