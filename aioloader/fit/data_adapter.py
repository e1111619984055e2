"""Keras' ``DataAdapter`` over a batch source: the one file that builds on Keras.

Importing it imports Keras and TensorFlow; `aioloader.fit.adapter` does so when a user asks for the adapter.
"""

from __future__ import annotations

import os
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Self

import keras
import tensorflow as tf
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from aioloader.errors import LoaderClosedError, OptionError
from aioloader.fit.epochs import Turn
from aioloader.fit.frames import KerasCall, epoch_iterator_of, read_call
from aioloader.fit.tensors import to_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from aioloader.types import Batch, BatchSource


class LoaderDataAdapter(DataAdapter):  # type: ignore[misc]  # Keras has no type information
    """Feeds one batch source to any number of fits, evaluations and predictions, one after another.

    Used from the thread that calls Keras. Batches are pulled in that thread, so errors arrive as they were
    raised and Ctrl-C works. The extra arguments of the ``get_`` methods are what newer Keras releases pass.
    """

    def __init__(self, source: BatchSource) -> None:
        self._source = source
        self._pid = os.getpid()
        self._turns: weakref.WeakKeyDictionary[object, Turn] = weakref.WeakKeyDictionary()
        self._guessed: Turn | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an aioloader Keras adapter cannot be pickled or copied: it reads from a loop thread of this "
            "process; create the Loader in the process that trains"
        )

    @property
    def num_batches(self) -> int:
        """Batches of one epoch, exact. Keras reading it from ``EpochIterator.__init__`` begins a new turn."""
        self._check_process()
        frame = sys._getframe(1)
        call = read_call(frame)
        if call is not None:
            call.refuse()
            if call.method == "fit":
                # An earlier fit may have been left in mid-epoch; Keras tells nobody.
                for turn in self._turns.values():
                    turn.close()
            self._turns[epoch_iterator_of(frame)] = Turn(self._source, call)
        return self._source.steps_per_epoch

    @property
    def batch_size(self) -> int:
        """Samples of a full batch."""
        return self._source.batch_size

    def get_numpy_iterator(self, *_args: object, **_kwargs: object) -> Iterator[Batch]:
        """One pass of numpy batches."""
        return self._turn_of(sys._getframe(1)).new_pass()

    def get_tf_dataset(self, *_args: object, **_kwargs: object) -> TensorEpochs:
        """An iterable of tuples of tensors; every ``iter`` of it is a pass."""
        frame = sys._getframe(1)
        _refuse_strategy(frame)
        return TensorEpochs(self._turn_of(frame))

    def on_epoch_end(self) -> None:
        """Called by Keras from ``reset``, before the first epoch, and at the end of every epoch."""
        frame = sys._getframe(1)
        turn = self._known_turn(frame)
        if turn is None:
            return
        if frame.f_code.co_name == "reset":
            turn.reset()
        else:
            turn.end_of_epoch()

    def _known_turn(self, frame: FrameType) -> Turn | None:
        owner = epoch_iterator_of(frame)
        return None if owner is None else self._turns.get(owner)

    def _turn_of(self, frame: FrameType) -> Turn:
        self._check_process()
        turn = self._known_turn(frame)
        if turn is not None:
            return turn
        if self._guessed is None:
            warnings.warn(
                f"aioloader does not recognise who asks it for batches (Keras {keras.__version__}) and takes "
                "one or two batches for a first look, which is wrong for epochs of one or two batches. Use "
                "a Keras release that this aioloader knows, or iterate over the loader itself.",
                RuntimeWarning,
                stacklevel=3,
            )
            self._guessed = Turn(self._source, KerasCall(), guess=True)
        return self._guessed

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise LoaderClosedError(
                f"this Keras adapter belongs to process {self._pid} and does not work in a forked child; "
                "create the Loader in the process that trains, or start children with 'spawn'"
            )


class TensorEpochs:
    """What Keras' TensorFlow trainer takes for a dataset: every ``iter`` is a pass."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return TensorPass(self._turn.new_pass())


class TensorPass:
    """One pass, as tensors; the waiting is an event ``aioloader.wait`` of TensorFlow's profiler, where that runs."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, ...]:
        with tf.profiler.experimental.Trace("aioloader.wait"):  # 1 µs a batch while no profiler runs
            batch = next(self._batches)
        return to_tensors(batch)


def _refuse_strategy(frame: FrameType) -> None:
    strategy = frame.f_locals.get("distribute_strategy")
    if strategy is None:
        return
    with strategy.scope():  # only the default strategy's scope leaves this False
        distributed = tf.distribute.has_strategy()
    if distributed:
        raise OptionError(
            "strategy",
            type(strategy).__name__,
            "a model built outside tf.distribute: to_keras() feeds one replica only; "
            "for several, give each process its own rank= and world_size=",
        )
