"""A `fit` whose step costs next to nothing, and the times of its batches."""

from __future__ import annotations

import threading
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FEATURES = 4


def small_model(features: int = FEATURES) -> Any:
    """One Dense layer, compiled and already trained on one batch: what `fit` builds at its first call is built."""
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.zeros((1, features), "float32"), np.zeros((1, 1), "float32"), verbose=0)
    return model


class Batches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]  # Keras is untyped
    """``count`` batches, each of which ``work(index)`` makes; counts who loads, and how many at a time."""

    def __init__(self, count: int, work: Callable[[int], Any] | None = None, **knobs: Any) -> None:
        super().__init__(**knobs)
        self._count = count
        self._work = work
        self._lock = threading.Lock()
        self._running = 0
        self.most_at_once = 0
        self.made = 0
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
            self.threads.add(threading.current_thread().name)
        made = None if self._work is None else self._work(index)
        with self._lock:
            self._running -= 1
            self.made += 1
        if made is not None:
            return made, np.zeros((len(made), 1), "float32")
        return np.full((1, FEATURES), index, "float32"), np.zeros((1, 1), "float32")


class Times(keras.callbacks.Callback):  # type: ignore[misc, name-defined]  # Keras is untyped
    """When batches and epochs began and ended; ``after_batch`` runs at each batch's end."""

    def __init__(self, after_batch: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._after_batch = after_batch
        self.epoch_begins: list[float] = []
        self.batch_begins: list[float] = []
        self.batch_ends: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch_begins.append(perf_counter())

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.batch_begins.append(perf_counter())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batch_ends.append(perf_counter())
        if self._after_batch is not None:
            self._after_batch()

    def rate(self, first: int = 0, last: int = -1) -> float:
        """Batches a second from the end of batch ``first`` to that of ``last``."""
        ends = self.batch_ends
        last %= len(ends)
        return (last - first) / (ends[last] - ends[first])


def fit(model: Any, data: Any, epochs: int = 1, after_batch: Callable[[], None] | None = None) -> Times:
    """Train without shuffling or a progress bar."""
    times = Times(after_batch)
    model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=[times])
    return times


def waits(seconds: float) -> Callable[[int], None]:
    """A request: time passes, nothing is computed."""
    return lambda _index: sleep(seconds)
