"""How often a model sees each batch of its first `fit`, by a layer that counts them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_knobs.fitting import FEATURES, Batches
from keras_knobs.table import Table

COUNT = 40
EPOCHS = 2


class Counted(keras.layers.Layer):  # type: ignore[misc, name-defined]  # Keras is untyped
    """Passes on what it gets, and counts the batches by their number."""

    def build(self, _shape: Any) -> None:
        self.seen = self.add_weight(shape=(COUNT,), initializer="zeros", trainable=False, name="seen")

    def call(self, batch: Any) -> Any:
        numbers = keras.ops.cast(batch[:, 0], "int32")
        self.seen.assign(self.seen + keras.ops.sum(keras.ops.one_hot(numbers, COUNT), axis=0))
        return batch


class Snapshots(keras.callbacks.Callback):  # type: ignore[misc, name-defined]  # Keras is untyped
    """The layer's counts at each epoch's end."""

    def __init__(self, layer: Counted) -> None:
        super().__init__()
        self._layer = layer
        self._before = np.zeros(COUNT)
        self.epochs: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = np.round(keras.ops.convert_to_numpy(self._layer.seen))
        self.epochs.append(now - self._before)
        self._before = now


def measure(repeats: int) -> Table:
    """The same in every round, so one."""
    rows = []
    for workers, is_built in ((1, False), (2, False), (4, False), (4, True)):
        layer = Counted()
        model = keras.Sequential([keras.Input((FEATURES,)), layer, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        snapshots = Snapshots(layer)
        data = Batches(COUNT, workers=workers, max_queue_size=10)
        if is_built:
            model.test_on_batch(*data[0])
            layer.seen.assign(np.zeros(COUNT))
        model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False, callbacks=[snapshots])
        said = "; ".join(
            f"epoch {number}: {int((counts > 1).sum())} twice, {int((counts == 0).sum())} never"
            for number, counts in enumerate(snapshots.epochs, 1)
        )
        rows.append([str(workers), "after `test_on_batch`" if is_built else "new", said])
    return Table("duplicates", ["workers", "model", "batches trained on"], rows)
