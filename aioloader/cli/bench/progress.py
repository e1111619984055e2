"""What runs now and how long the rest takes: a bar on a terminal, else a line after each mode's turn."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from aioloader.cli.bench.time_left import TimeLeft


class Progress(Protocol):
    """Told of what happens; reads the rest from a `TimeLeft`."""

    def now(self, words: str) -> None:
        """``words`` begin."""
        ...

    def told(self, line: str) -> None:
        """A turn is over, and this is what it came to."""
        ...

    def refresh(self) -> None:
        """Called some times a second."""
        ...


class _Lines:
    def __init__(self, left: TimeLeft) -> None:
        self._left = left

    def now(self, words: str) -> None:
        pass

    def told(self, line: str) -> None:
        print(f"{line}; {self._left}", file=sys.stderr, flush=True)

    def refresh(self) -> None:
        pass


class _Bar:
    def __init__(self, left: TimeLeft, bar: RichProgress, task: TaskID) -> None:
        self._left = left
        self._bar = bar
        self._task = task

    def now(self, words: str) -> None:
        self._bar.update(self._task, description=words)

    def told(self, line: str) -> None:
        self.refresh()

    def refresh(self) -> None:
        self._bar.update(self._task, completed=self._left.steps_done, left=str(self._left))


@contextmanager
def progress(left: TimeLeft) -> Iterator[Progress]:
    """On standard error, so that the table can be piped."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield _Lines(left)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(20), TextColumn("{task.fields[left]}"), TextColumn("{task.description}"))
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(left, bar, bar.add_task("", total=left.total, left=str(left)))
