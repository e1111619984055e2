"""What forked worker processes cost an epoch and a batch, and what they bring a decoder that holds the GIL."""

from __future__ import annotations

import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import interleaved, paired_ratios

from keras_knobs.epochs import milliseconds
from keras_knobs.fitting import Batches, fit, small_model
from keras_knobs.table import Table, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOPS = 700_000
LARGE = (64, 224 * 224 * 3)


def measure(repeats: int) -> Table:
    """Threads beside processes, two of each."""
    model, wide = small_model(), small_model(LARGE[1])
    rows = []
    figures: dict[str, list[float]] = {}
    questions = {
        "ms an epoch of 5 batches that cost nothing": lambda knobs: milliseconds(model, workers=2, **knobs),
        "ms a batch of 9.6 MB that costs nothing": lambda knobs: 1000 / _rate(wide, 16, _large, knobs),
        "batches/s, pure Python that holds the GIL": lambda knobs: _rate(model, 24, _pure_python, knobs),
    }
    for question, ask in questions.items():
        cases = {
            f"{question}: {name}": partial(ask, {"use_multiprocessing": use})
            for name, use in (("threads", False), ("processes", True))
        }
        results = interleaved(cases, repeats)
        figures |= results
        rows += [
            [question, name.rsplit(": ", 1)[1], spread(results[name]), spread(paired_ratios(results, name))]
            for name in cases
        ]
    rows.append(["how they start", "processes", multiprocessing.get_start_method(), ""])
    return Table("processes", ["question", "two", "median (quartiles)", "ratio to threads"], rows, figures)


def _rate(model: Any, count: int, work: Any, knobs: dict[str, Any]) -> float:
    return fit(model, Batches(count, work, workers=2, max_queue_size=2, **knobs)).rate(4)


def _large(_index: int) -> NDArray[np.uint8]:
    return np.zeros(LARGE, "uint8")


def _pure_python(_index: int) -> None:
    total = 1
    for number in range(LOOPS):
        total = (total * 31 + number) & 0xFFFF
