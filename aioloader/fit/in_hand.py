"""One open epoch: a stream, what went back to its front, and the check that it has exactly its batches."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from aioloader.errors import InvariantError, StreamReplacedError

if TYPE_CHECKING:
    from aioloader.types import Batch, BatchStream


class EpochInHand:
    """An open epoch: its stream, the batches that came back to the front, and those that still may."""

    def __init__(
        self, stream: BatchStream, *, steps: int, keep_at_most: int, front: deque[Batch] | None = None
    ) -> None:
        self.epoch = stream.epoch
        self.steps = steps
        self.taken = 0
        self._stream: BatchStream | None = stream
        self._front: deque[Batch] = front if front is not None else deque()
        self._keep_at_most = keep_at_most
        self._kept: list[Batch] | None = [] if keep_at_most else None

    @property
    def finished(self) -> bool:
        """Whether the last batch was taken."""
        return self.taken == self.steps

    @property
    def can_go_back(self) -> bool:
        """Whether every batch taken so far can be taken again."""
        return self._kept is not None

    def take(self) -> Batch:
        """The next batch, StopIteration after the last; an error or Ctrl-C ends the stream."""
        if self._stream is None:
            raise StreamReplacedError(
                f"epoch {self.epoch} goes on in another iterator of the same adapter; this one has ended"
            )
        if self.finished:
            raise StopIteration
        try:
            batch = self._front.popleft() if self._front else self._next(self._stream)
        except BaseException as exc:
            self._stream.close()
            _show_cause(exc)
            raise
        self.taken += 1
        if self._kept is not None:
            self._kept.append(batch)
            if len(self._kept) > self._keep_at_most:
                self._kept = None
        return batch

    def _next(self, stream: BatchStream) -> Batch:
        try:
            batch = next(stream)
            # Keras never asks for more than `steps` batches: hear the stream's own end, and its checks, now.
            surplus = next(stream, None) if self.taken + 1 == self.steps else None
        except StopIteration:
            raise InvariantError(f"epoch {self.epoch} ended after {self.taken} of {self.steps} batches") from None
        if surplus is not None:
            raise InvariantError(f"epoch {self.epoch} has more than its {self.steps} batches")
        return batch

    def keep_no_more(self) -> None:
        """What was taken stays taken."""
        self._kept = None

    def rewound(self, *, keep_at_most: int) -> EpochInHand:
        """The same epoch from its first batch on; this object gives nothing any more."""
        stream = self._stream
        if stream is None or self._kept is None:
            raise InvariantError(f"epoch {self.epoch} cannot go back: {self.taken} batches were taken")
        front = deque([*self._kept, *self._front])
        self._stream, self._kept = None, None
        return EpochInHand(stream, steps=self.steps, keep_at_most=keep_at_most, front=front)

    def close(self) -> None:
        """End the stream, and what it may fetch of later epochs. Idempotent."""
        if self._stream is not None:
            self._stream.close()
            self._front.clear()
            self._kept = None


def _show_cause(error: BaseException) -> None:
    """Make the cause survive Keras, which re-raises ``from None``: as ``__context__`` and as a note."""
    cause = error.__cause__
    if cause is not None:
        error.__context__ = cause
        error.add_note(f"Caused by {type(cause).__name__}: {cause}")
