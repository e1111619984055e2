"""The rows of one part, as a child process measured them, and as Markdown over all backends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from harness import quartiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TITLES = {
    "arguments": "Does `fit` take the knobs?",
    "threads": "Which threads load, and how far do they run ahead? (the consumer takes 20 ms a batch, loading none)",
    "rates": "Batches a second at 50 ms a batch",
    "stragglers": "2 % of the batches take 1 s, the others 50 ms",
    "epochs": "Milliseconds an epoch of 5 batches that cost nothing",
    "gap": "A batch takes 60 ms to load: what says that the model waits?",
    "processes": "What `use_multiprocessing=True` costs and brings",
    "duplicates": "Does each batch come once? (first `fit` of a model, 40 batches, max_queue_size=10, no shuffle)",
    "loaders": "Samples a second through `fit`, from a bucket with latency, no decoding",
}


@dataclass(frozen=True, slots=True)
class Table:
    """One part of one backend; a row is a line of Markdown cells."""

    part: str
    header: list[str]
    rows: list[list[str]]
    figures: Mapping[str, list[float]] = field(default_factory=dict)
    """What was measured, case by case, in the order of rounds."""
    others_share: float = 0.0
    """Of the machine, taken by neither this benchmark nor an idle core meanwhile."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def spread(figures: Sequence[float]) -> str:
    """Median and quartiles."""
    low, middle, high = quartiles(figures)
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def markdown(part: str, by_backend: Mapping[str, Table]) -> str:
    """One table of a part, the backend in the first column."""
    header = ["backend", *next(iter(by_backend.values())).header]
    lines = [f"### {part}: {TITLES[part]}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for backend, table in by_backend.items():
        lines += ["| " + " | ".join([backend, *row]) + " |" for row in table.rows]
    shares = ", ".join(f"{backend} {table.others_share:.0%}" for backend, table in by_backend.items())
    return "\n".join([*lines, "", f"Others' share of the machine meanwhile: {shares}."])
