"""What a bench came to: every run, and medians with their spread."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from aioloader.tune.concurrency import START

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SWEPT_AT = START
"""Requests that are allowed while the workers change."""
FIGURES = ("samples_per_s", "first_batch_s", "cpu_s_per_1000", "peak_bytes")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        known = sorted(values)
        return cls(median(known), known[0], known[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of ``mode`` at ``place``; ``answer`` is the child's, empty where ``error`` says what happened."""

    mode: str
    place: str
    round_number: int
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A mode at a place: its figures where a run was valid, and what was wrong with those that were not."""

    mode: str
    place: str
    runs: int
    valid_runs: int
    figures: Mapping[str, Spread]
    complaints: Sequence[str]

    @property
    def speed(self) -> float:
        """Median samples a second; 0 without a valid run."""
        return self.figures["samples_per_s"].median if self.figures else 0.0

    @property
    def validity(self) -> str:
        """``"3 of 3"``, or ``"failed"`` without any run that gave samples."""
        return f"{self.valid_runs} of {self.runs}" if self.figures or self.valid_runs else "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSetting:
    """aioloader with ``knob`` at ``value``, threads or processes, and all else at its default.

    Where it is the workers that change, `SWEPT_AT` requests are allowed: what "auto" has found at one point it would
    begin with at the next.
    """

    knob: str
    value: int
    use_multiprocessing: bool

    @property
    def concurrency(self) -> int:
        """Requests that are allowed."""
        return self.value if self.knob == "concurrency" else SWEPT_AT

    @property
    def knobs(self) -> dict[str, int]:
        """Those that are fixed, beside the kind of workers."""
        return {"concurrency": self.concurrency, self.knob: self.value}

    @property
    def mode(self) -> str:
        """The one that runs it."""
        return "aioloader-processes" if self.use_multiprocessing else "aioloader-threads"

    @property
    def words(self) -> str:
        """For the progress."""
        return f"{self.knob}={self.value}, {'processes' if self.use_multiprocessing else 'threads'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """What a setting gave."""

    setting: SweepSetting
    samples_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self.setting) | {
            "concurrency": self.setting.concurrency,
            "samples_per_s": self.samples_per_s,
        }


@dataclass
class Results:
    """Filled while the bench runs; what there is may be shown at any time."""

    modes: dict[str, str]
    """Title by name, in the order of the catalogue."""
    missing: dict[str, str]
    places: list[str]
    runs: list[Run] = field(default_factory=list)
    sweep: list[SweepPoint] = field(default_factory=list)
    watched: dict[str, Any] = field(default_factory=dict)
    """What `watching` saw of aioloader at its defaults, with ``place`` and ``settings``."""
    is_interrupted: bool = False
    others_share: float = 0.0
    """Of the machine, taken by other programs meanwhile."""

    def settings(self, mode: str) -> str:
        """What the mode says of its numbers; the last run's words."""
        return next((run.answer["settings"] for run in reversed(self.runs) if run.mode == mode and run.answer), "")

    def cells(self, place: str) -> list[Cell]:
        """Every mode that ran at ``place``, the fastest first."""
        runs = [run for run in self.runs if run.place == place]
        usual = Counter(run.answer["first_checksum"] for run in runs if run.answer and run.answer["is_comparable"])
        expected = usual.most_common(1)[0][0] if usual else None
        found = [self._cell(mode, place, [run for run in runs if run.mode == mode], expected) for mode in self.modes]
        return sorted((cell for cell in found if cell.runs), key=lambda cell: -cell.speed)

    def _cell(self, mode: str, place: str, runs: Sequence[Run], expected: int | None) -> Cell:
        valid, complaints = [], []
        for run in runs:
            if run.error:
                complaints.append(run.error)
            elif run.answer["why_invalid"]:
                complaints.append("invalid: " + run.answer["why_invalid"])
            elif run.answer["is_comparable"] and run.answer["first_checksum"] != expected:
                complaints.append("invalid: its first batch holds other values than the others'")
            else:
                valid.append(run.answer)
        figures = {name: Spread.of(answer[name] for answer in valid) for name in FIGURES} if valid else {}
        return Cell(
            mode=mode,
            place=place,
            runs=len(runs),
            valid_runs=len(valid),
            figures=figures,
            complaints=list(dict.fromkeys(complaints)),
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        return {
            "modes": [
                {"name": name, "title": title, "settings": self.settings(name), "missing": self.missing.get(name, "")}
                for name, title in self.modes.items()
            ],
            "places": self.places,
            "summary": [asdict(cell) for place in self.places for cell in self.cells(place)],
            "sweep": [point.as_dict() for point in self.sweep],
            "auto": self.watched,
            "runs": [asdict(run) for run in self.runs],
            "others_share": self.others_share,
            "is_interrupted": self.is_interrupted,
        }
