"""Whether the gap between callbacks shows that the model waits for data."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import sleep
from typing import TYPE_CHECKING

import keras
import numpy as np

import aioloader as al
from keras_knobs.fitting import FEATURES, Batches, Times, fit, small_model, waits
from keras_knobs.table import Table, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAIT_S = 0.06
COUNT = 20


def measure(repeats: int) -> Table:
    """Milliseconds a step: the wall, the callbacks' gap, and what the loader counted itself."""
    model = small_model()
    figures: dict[str, list[float]] = {}

    def note(case: str, times: Times) -> None:
        ends, begins = times.batch_ends[2:], times.batch_begins[3:]
        walls = [after - before for before, after in pairwise(ends)]
        gaps = [begin - end for end, begin in zip(ends, begins, strict=False)]
        figures.setdefault(f"{case}: a step, by the wall", []).append(1000 * median(walls))
        figures.setdefault(f"{case}: batch_end to batch_begin", []).append(1000 * median(gaps))

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a").mkdir()
        for index in range(COUNT):
            (Path(folder) / "a" / f"{index:03d}.bin").write_bytes(b"0")
        data = al.image_folder(folder, extensions=".bin")
        for _ in range(repeats):
            note("PyDataset, workers=1", fit(model, Batches(COUNT, waits(WAIT_S), workers=1)))
            if keras.backend.backend() != "tensorflow":  # all that to_keras() feeds so far
                continue
            with al.Loader(data, decode=slowly, batch_size=1, workers=1) as loader:
                note("aioloader", fit(model, loader.to_keras()))
                stats = loader.stats()
            own = 1000 * stats.data_wait_s / stats.batches
            figures.setdefault("aioloader: its own data_wait_s, by the step", []).append(own)
    rows = [[name, spread(values)] for name, values in sorted(figures.items(), reverse=True)]
    return Table("gap", ["what was read", "ms, median (quartiles)"], rows, figures)


def slowly(data: bytes) -> NDArray[np.float32]:
    """As long as the PyDataset's batch."""
    sleep(WAIT_S)
    return np.zeros(FEATURES, "float32")
