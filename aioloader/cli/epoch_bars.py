"""Keras' callback for a bar per epoch on the terminal, and how long each epoch took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class EpochBars:
    """``with EpochBars(epochs, steps) as bars: model.fit(..., verbose=0, callbacks=[bars.callback()])``."""

    def __init__(self, epochs: int, steps_per_epoch: int) -> None:
        self.train_seconds: list[float] = []
        """Of each finished epoch: from its begin to the end of its last training step."""
        self._epochs = epochs
        self._steps = steps_per_epoch
        self._started_s = 0.0
        self._stepped_s = 0.0
        self._task = TaskID(0)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[words]}")
        )

    def __enter__(self) -> EpochBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def callback(self) -> Any:
        """A `keras.callbacks.LambdaCallback` that drives the bars."""
        import keras

        return keras.callbacks.LambdaCallback(
            on_epoch_begin=self._begin, on_train_batch_end=self._step, on_epoch_end=self._end
        )

    def _begin(self, epoch: int, logs: Mapping[str, float] | None) -> None:
        self._started_s = time.perf_counter()
        name = f"epoch {epoch + 1}/{self._epochs}"
        self._task = self._progress.add_task(name, total=self._steps, words="")

    def _step(self, batch: int, logs: Mapping[str, float] | None) -> None:
        self._stepped_s = time.perf_counter()
        words = f"loss {logs['loss']:.3f}" if logs else ""
        self._progress.update(self._task, completed=batch + 1, words=words)

    def _end(self, epoch: int, logs: Mapping[str, float] | None) -> None:
        self.train_seconds.append(self._stepped_s - self._started_s)
        words = f"{self.train_seconds[-1]:.1f} s"
        if logs:
            words = f"loss {logs['loss']:.3f}, validation accuracy {logs['val_accuracy']:.3f}, {words}"
        self._progress.update(self._task, words=words)
