"""What an epoch costs besides its batches, with and without Keras' pool of workers."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

from harness import interleaved

from keras_knobs.fitting import Batches, fit, small_model
from keras_knobs.table import Table, spread

COUNT = 5
EPOCHS = 4


def milliseconds(model: Any, **knobs: Any) -> float:
    """Median time from an epoch's beginning to the next one's."""
    begins = fit(model, Batches(COUNT, **knobs), epochs=EPOCHS).epoch_begins
    return 1000 * median(after - before for before, after in pairwise(begins))


def measure(repeats: int) -> Table:
    """Five batches an epoch that cost nothing."""
    model = small_model()
    cases = {
        f"workers={workers}": partial(milliseconds, model, workers=workers, max_queue_size=10) for workers in (1, 2, 16)
    }
    figures = interleaved(cases, repeats)
    rows = [[name, spread(figures[name])] for name in cases]
    return Table("epochs", ["case", "ms an epoch, median (quartiles)"], rows, figures)
