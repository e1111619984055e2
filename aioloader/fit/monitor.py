"""A Keras callback that writes down, once an epoch, how the data came.

Importing it imports Keras; `aioloader.fit` does so when `Monitor` is touched.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import keras

from aioloader.fit.page_file import PageFile
from aioloader.monitor.interval import figures

if TYPE_CHECKING:
    import os

    from aioloader.fit.page_file import Watched
    from aioloader.monitor.snapshot import Snapshot
    from aioloader.monitor.verdict import Verdict


class Monitor(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
    """Puts a loader's figures of each epoch into ``logs``, on every backend, and keeps its verdicts.

    ::

        monitor = al.keras.Monitor(loader)
        model.fit(loader.to_keras(), epochs=3, callbacks=[monitor, keras.callbacks.TensorBoard("runs")])

    Callbacks that stand after it (`TensorBoard`, `CSVLogger`), and the history, have ``loader/data_wait_share``,
    ``loader/samples_per_s`` and so on (`interval.figures` has all of them). They are of the time in which the epoch
    trained: what validation took is left out. A Monitor of the loader that goes into ``validation_data=`` counts the
    validation instead; give it a ``prefix`` of its own. Nothing is done a batch.

    ``verdicts`` holds what limited each epoch; where `fit` is not silent a verdict is printed when its limit is not
    that of the epoch before.

    With ``html`` a page on the run, for people, is written there at the end of each epoch and of `fit`; and when the
    interpreter exits after a `fit` that ended by an error or Ctrl-C, of which Keras tells no callback. It is
    replaced as a whole each time. One that cannot be written is logged, and the training goes on.
    """

    async_safe = True

    def __init__(self, loader: Watched, html: str | os.PathLike[str] | None = None, *, prefix: str = "loader/") -> None:
        super().__init__()
        self.verdicts: dict[int, Verdict] = {}
        """By Keras' number of the epoch, from 0."""
        self._loader = loader
        self._prefix = prefix
        self._trained: _Part | None = None
        self._tested: _Part | None = None
        self._printed = ""
        self._page = None if html is None else PageFile(loader, html)

    def on_train_begin(self, logs: Any = None) -> None:
        """A fit begins."""
        if self._page is not None:
            self._page.write_at_exit()

    def on_train_end(self, logs: Any = None) -> None:
        """It ends well, or was stopped."""
        if self._page is not None:
            self._page.write()
            self._page.forget_exit()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """The epoch's training begins."""
        self._tested = None
        self._trained = _Part(self._loader)

    def on_test_begin(self, logs: Any = None) -> None:
        """Its training is over where Keras goes on to validate; other evaluations are none of it."""
        if self._trained is not None:
            self._trained.end()
            self._tested = _Part(self._loader)

    def on_test_end(self, logs: Any = None) -> None:
        """Its validation is over."""
        if self._tested is not None:
            self._tested.end()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Its figures go into ``logs``."""
        part, tested = self._trained, self._tested
        if part is None:
            return
        self._trained = self._tested = None
        part.end()
        if tested is not None:
            tested.end()
            part = tested if tested.batches and not part.batches else part
        if logs is not None:
            logs.update({self._prefix + name: value for name, value in part.figures().items()})
        verdict = self.verdicts[epoch] = part.verdict
        if self.params.get("verbose") and verdict.limit != self._printed:
            self._printed = verdict.limit
            sys.stdout.write(f"\naioloader, epoch {epoch + 1}: {verdict.sentence}\n")
        if self._page is not None:
            self._page.write()


class _Part:
    """A stretch of an epoch."""

    def __init__(self, loader: Watched) -> None:
        self._loader = loader
        self._first = loader.snapshot()
        self._last: Snapshot | None = None

    def end(self) -> None:
        """It ends now, unless it has ended before."""
        if self._last is None:
            self._last = self._loader.snapshot(since_s=self._first.at_s)

    @property
    def last(self) -> Snapshot:
        """How it was at the end."""
        assert self._last is not None  # `end` was called
        return self._last

    @property
    def batches(self) -> int:
        """That the loader gave in it."""
        return self.last.stats.batches - self._first.stats.batches

    @property
    def verdict(self) -> Verdict:
        """What limited it."""
        return self.last.verdict

    def figures(self) -> dict[str, float]:
        """Of it alone."""
        return figures(self._first, self.last)
