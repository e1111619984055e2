"""Who plans for a worker, as the worker sees it: the stream itself, or a child's share of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aioloader.engine.step import Item
    from aioloader.errors import SampleError
    from aioloader.types import SampleRef, Tree

Waiter = Callable[[], None]


class Work(Protocol):
    """Who plans for a worker: what to fetch next, and where it goes. Thread-safe."""

    @property
    def closed(self) -> bool:
        """Whether the stream has ended here."""
        ...

    def next_ticket(self) -> int | None:
        """The next sample to fetch, now the caller's; None while there is none."""
        ...

    def sample(self, ticket: int) -> SampleRef:
        """What to fetch for it."""
        ...

    def item(self, ticket: int, sample: SampleRef, body: bytes) -> Item:
        """What was fetched for it."""
        ...

    def offer(self, item: Item) -> None:
        """It waits for a decoder."""
        ...

    def take(self) -> Item | None:
        """The item a decoder may work on now, its slot set."""
        ...

    def idle(self) -> None:
        """Nothing can be decoded now."""
        ...

    def settle(self, item: Item, spec: Tree) -> None:
        """The first sample's fields are these."""
        ...

    def decoded(self, item: Item, duration_s: float, error: SampleError | None) -> Waiter | None:
        """Its slot is filled, or it failed; returns whom to wake."""
        ...

    def enter_user_code(self, ticket: int) -> None:
        """A coroutine of the user's begins; `take` says so of plain decoders."""
        ...

    def leave_user_code(self, ticket: int) -> None:
        """It has ended."""
        ...

    def failed(self, ticket: int, error: SampleError) -> Waiter | None:
        """It could not be fetched, or its coroutine failed; returns whom to wake."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether `next_ticket` would give one now: in other orders than strict the samples that are done decide."""
        ...

    @property
    def has_waiting(self) -> bool:
        """Whether a sample was fetched that no decoder has begun."""
        ...

    def close(self, broken: BaseException | None = None) -> Waiter | None:
        """Nothing more is to be done; ``broken`` says why, where that is nobody's wish."""
        ...
