"""A program whose first batch never comes; a test sends it SIGINT once it said "waiting".

``waits_for_ever.py source``: a source that waits for an event. ``waits_for_ever.py URL``: a loader of a silent server.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import keras
import numpy as np

import aioloader as al
from aioloader.fit import keras_adapter

if TYPE_CHECKING:
    from aioloader.types import Batch


class Stuck:
    """A source and its only stream."""

    batch_size = 2
    steps_per_epoch = 3
    next_epoch = 0
    epoch = 0

    def open_epoch(self, epoch: int | None = None, *, epochs_ahead: int = 0) -> Stuck:
        return self

    def __iter__(self) -> Stuck:
        return self

    def __next__(self) -> Batch:
        print("waiting", flush=True)  # not a callback: Ctrl-C before the pull would find no stream to close
        threading.Event().wait()
        raise AssertionError("nobody sets the event")

    def close(self) -> None:
        print("closed", flush=True)


class SaysWhen(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        print("waiting", flush=True)


def decode(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(1), np.zeros(1)


if sys.argv[1] == "source":
    adapter, callbacks = keras_adapter(Stuck()), []
else:
    adapter = al.Loader(al.from_samples(["a", "b"], root=sys.argv[1]), decode=decode, batch_size=2).to_keras()
    callbacks = [SaysWhen()]
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(adapter, epochs=1, callbacks=callbacks, verbose=0)  # the user's line
