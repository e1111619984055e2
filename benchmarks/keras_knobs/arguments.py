"""Which of the old arguments of `fit` raise, and with what words."""

from __future__ import annotations

import numpy as np

from keras_knobs.fitting import FEATURES, small_model
from keras_knobs.table import Table


def measure(repeats: int) -> Table:
    """Each argument by itself; the same answer in every round, so one."""
    model = small_model()
    rows = []
    for name, value in (("workers", 4), ("max_queue_size", 10), ("use_multiprocessing", True)):
        try:
            model.fit(np.zeros((1, FEATURES)), np.zeros((1, 1)), verbose=0, **{name: value})
            said = "accepted"
        except TypeError as exc:
            said = f"TypeError: {exc}"
        rows.append([f"`fit({name}={value})`", said.replace("|", r"\|")])
    return Table("arguments", ["call", "answer"], rows)
