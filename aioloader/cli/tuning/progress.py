"""What runs now, and how long the rest takes: a bar on a terminal, else a line for each part."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Progress(Protocol):
    """Told of the parts as they begin, and some times a second that time goes on."""

    def now(self, words: str) -> None:
        """``words`` begin."""
        ...

    def tick(self) -> None:
        """Time goes on."""
        ...

    def limited_by(self, limit: str) -> None:
        """The part that runs is, now."""
        ...


class _Lines:
    def __init__(self, until_s: float) -> None:
        self._until_s = until_s

    def now(self, words: str) -> None:
        print(f"{words}; {_left(self._until_s)}", file=sys.stderr, flush=True)

    def tick(self) -> None:
        pass

    def limited_by(self, limit: str) -> None:
        pass


@contextmanager
def progress(seconds: float) -> Iterator[Progress]:
    """For about ``seconds`` from now. On standard error, so that the result can be piped."""
    until_s = monotonic() + seconds
    if not sys.stderr.isatty():
        yield _Lines(until_s)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(20), TextColumn("{task.fields[left]}"), TextColumn("{task.description}"))
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=seconds, left="")

        class Bar:
            """Rich draws it, in a thread of its own."""

            words = ""

            def now(self, words: str) -> None:
                self.words = words
                bar.update(task, description=words)
                self.tick()

            def limited_by(self, limit: str) -> None:
                bar.update(task, description=f"{self.words}: {limit}")

            def tick(self) -> None:
                bar.update(task, completed=seconds - max(until_s - monotonic(), 0.0), left=_left(until_s))

        yield Bar()


def _left(until_s: float) -> str:
    return f"about {max(until_s - monotonic(), 0.0):.0f} s left"
