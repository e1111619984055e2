"""The tiny model of row E, and how an epoch through ``model.fit`` is watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from runner.counting import Count

if TYPE_CHECKING:
    from types import ModuleType

    from runner.job import Job


class SeenIds(keras.metrics.Metric):
    """Counts each label: in this row a sample's label is its id."""

    def __init__(self, count: int) -> None:
        super().__init__(name="seen")
        self.counts = tf.Variable(np.zeros(count, np.int64), trainable=False)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """One batch of labels, any shape."""
        ids = tf.reshape(tf.cast(y_true, tf.int64), (-1, 1))
        self.counts.scatter_nd_add(ids, tf.ones_like(ids[:, 0]))

    def result(self) -> Any:
        """Nothing of interest while it runs: a scalar that costs nothing."""
        return tf.zeros(())

    def reset_state(self) -> None:
        """Keras calls it at each epoch's begin; `clear` is ours."""

    def clear(self) -> None:
        """Forget what was seen."""
        self.counts.assign(tf.zeros_like(self.counts))


def tiny_model(job: Job) -> tuple[Any, SeenIds]:
    """One strided convolution, pooling, one dense layer: some 0.1 ms a sample, so that loading is what is measured."""
    seen = SeenIds(job.count)
    model = keras.Sequential(
        [
            keras.Input((*job.size, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 8, strides=8, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )

    def loss(ids: Any, scores: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(tf.reshape(ids, (-1,)) % 10, scores)

    model.compile("sgd", loss, metrics=[seen])
    return model, seen


class Watch(keras.callbacks.Callback):
    """Marks each step's end."""

    def __init__(self, count: Count, job: Job) -> None:
        super().__init__()
        self._count = count
        self._sizes = [len(ids) for ids in job.batches()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A step over: its batch was loaded and trained on."""
        self._count.mark(self._sizes[batch])


def fitted(job: Job, loader: ModuleType) -> dict[str, Any]:
    """One epoch of ``fit``, after two batches by the same path: tracing the step is nobody's loading."""
    model, seen = tiny_model(job)
    with loader.for_fit(job.first(2 * job.batch_size)) as batches:
        model.fit(batches, epochs=1, verbose=0, shuffle=False)
    seen.clear()
    count = Count(job.count)
    with loader.for_fit(job) as batches:
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[Watch(count, job)])
        result = count.result()
    result["checksum"] = -1  # the pixels went to the model
    result["distinct"] = int((seen.counts.numpy() > 0).sum())
    result["samples"] = int(seen.counts.numpy().sum())
    return result
