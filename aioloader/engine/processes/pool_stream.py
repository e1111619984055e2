"""A stream as the pool of worker processes sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aioloader.engine.processes.link import Link
    from aioloader.engine.processes.wire import Done
    from aioloader.errors import SampleError
    from aioloader.monitor.recorder import Span
    from aioloader.types import Tree


class PoolStream(Protocol):
    """A stream as the pool sees it."""

    number: int
    recipe_number: int
    origin: str
    concurrency: int
    workers: int
    in_flight: int
    body_bytes: int

    @property
    def body_limit(self) -> int | None:
        """Bytes of its bodies in each process; None where only the process's own bound holds."""
        ...

    @property
    def has_suspects(self) -> bool:
        """Whether a sample waits for a process of its own."""
        ...

    def dispatch(self) -> None:
        """Give out what may be given out."""
        ...

    def on_done(self, link: Link, done: Done) -> None:
        """Slots were filled."""
        ...

    def on_spans(self, link: Link, spans: dict[str, list[Span]]) -> None:
        """What the link recorded, by stage."""
        ...

    def on_arrived(self, link: Link, tickets: list[int]) -> None:
        """Samples wait for slots."""
        ...

    def on_failed(self, link: Link, ticket: int, error: SampleError) -> None:
        """A sample failed."""
        ...

    def on_spec(self, link: Link, ticket: int, spec: Tree, key: str) -> None:
        """The first sample's fields."""
        ...

    def on_ended(self, link: Link) -> None:
        """The link does and writes nothing more for it."""
        ...

    def on_death(self, link: Link, suspects: list[int], code: int) -> None:
        """The link's process is gone."""
        ...

    def break_with(self, error: BaseException) -> None:
        """It cannot go on."""
        ...
