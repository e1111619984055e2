"""Which batch Keras gets next: a state machine of probes and epochs that knows nothing of Keras.

Keras opens more iterators than it has epochs, and looks at batches before it trains on them (a *probe*: it
builds the model from their shapes). A `Turn` is one fit, evaluate or predict. Its rule: what is pulled before
the turn's first ``reset`` goes back to the front; after that, the first batch asked of a new pass opens the
next epoch. Ends of epochs are not counted: Keras reports one before it begins, and none after an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aioloader.errors import OptionError
from aioloader.fit.in_hand import EpochInHand

if TYPE_CHECKING:
    from aioloader.fit.frames import KerasCall
    from aioloader.types import Batch, BatchSource


GUESSED_PROBE_BATCHES = 2
"""Where Keras is not recognised: as many batches as any known Keras looks at before it trains."""


def keras_epochs_per_epoch(call: KerasCall, steps: int) -> int:
    """How many of Keras' epochs one epoch of ``steps`` batches lasts: 1, or more with ``steps_per_epoch``.

    Keras keeps one iterator over its epochs then, and counts executions of ``steps_per_execution`` batches.
    """
    if call.steps_per_epoch is None:
        return 1
    executions = -(-steps // call.steps_per_execution)
    executions_per_keras_epoch = -(-call.steps_per_epoch // call.steps_per_execution)
    return -(-executions // executions_per_keras_epoch)


def epochs_of(call: KerasCall, steps: int) -> int:
    """How many epochs of the source the whole call opens; 1 for everything but `fit`."""
    if call.method != "fit":
        return 1
    left = max(0, call.epochs - call.first_epoch())
    return -(-left // keras_epochs_per_epoch(call, steps))


class Turn:
    """One fit, evaluate or predict: the epochs it takes from the source, one after another.

    With ``guess`` the caller is not a known Keras and `reset` is never called: a pass of at most two batches
    that did not make an epoch is taken for a probe. Used from one thread.
    """

    def __init__(self, source: BatchSource, call: KerasCall, *, guess: bool = False) -> None:
        self.call = call
        self._source = source
        self._steps = source.steps_per_epoch
        if self._steps < 1:
            raise OptionError(
                "batch_size",
                str(source.batch_size),
                "at most the number of samples (an epoch has no full batch), or drop_last=False",
            )
        self._guess = guess
        self._probing = True
        self._in_hand: EpochInHand | None = None
        self._goes_back = False
        self._begun = 0
        # JAX looks one execution ahead of the one that it builds the model from.
        self._probe_limit = GUESSED_PROBE_BATCHES if guess else 2 * call.steps_per_execution

    def new_pass(self) -> EpochPass:
        """An iterator for Keras; opening it has no effect before its first ``next``."""
        return EpochPass(self)

    def reset(self) -> None:
        """Keras is done with looking: what it pulled goes back to the front."""
        if self._probing:
            self._probing = False
            self._goes_back = self._in_hand is not None and self._in_hand.can_go_back

    def end_of_epoch(self) -> None:
        """Keras went through an epoch: so what it pulled was no probe (`predict` has none)."""
        if self._probing and not self._guess:
            self._probing = False
            if self._in_hand is not None:
                self._in_hand.keep_no_more()

    def begin_epoch(self) -> EpochInHand:
        """What a new pass reads: the epoch that went back to the front, or the next one, opened now."""
        in_hand = self._in_hand
        probing = self._guess or self._probing
        keep_at_most = self._probe_limit if probing else 0
        if in_hand is not None and self._takes_again(in_hand):
            self._in_hand = in_hand.rewound(keep_at_most=keep_at_most)
        else:
            if in_hand is not None and not in_hand.finished:
                in_hand.close()
            self._in_hand = self._open(keep_at_most)
        if not probing:
            self._goes_back = False
            self._begun += 1
        return self._in_hand

    def close(self) -> None:
        """End the epoch this turn is in, if it is in one. Idempotent."""
        if self._in_hand is not None and not self._in_hand.finished:
            self._in_hand.close()  # not a finished one: what it fetched ahead serves the next to open
        self._in_hand = None

    def _takes_again(self, in_hand: EpochInHand) -> bool:
        if self._guess:
            return in_hand.can_go_back and not in_hand.finished
        if self._probing:
            return in_hand.can_go_back
        # BackupAndRestore says where to go on only after the probe has opened an epoch.
        return self._goes_back and in_hand.epoch >= self._first_epoch()

    def _first_epoch(self) -> int:
        """The epoch that Keras' ``initial_epoch`` lies in."""
        return self.call.first_epoch() // keras_epochs_per_epoch(self.call, self._steps)

    def _open(self, keep_at_most: int) -> EpochInHand:
        # The source never goes back: an order that was trained on is not repeated.
        first = self._first_epoch() if self._begun == 0 else 0
        stream = self._source.open_epoch(
            first if first > self._source.next_epoch else None,
            epochs_ahead=max(0, epochs_of(self.call, self._steps) - self._begun - 1),
        )
        return EpochInHand(stream, steps=self._steps, keep_at_most=keep_at_most)


class EpochPass(Iterator["Batch"]):
    """One pass over one epoch; the epoch is opened at the first ``next``."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._in_hand: EpochInHand | None = None

    def __next__(self) -> Batch:
        if self._in_hand is None:
            self._in_hand = self._turn.begin_epoch()
        return self._in_hand.take()
