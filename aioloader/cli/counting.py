"""A number that grows while one waits: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def counting(words: str, noun: str) -> Iterator[Callable[[int], object] | None]:
    """Who is told the number so far, to show it as "listing 12,000 objects"; None where nobody looks.

    On standard error, and gone at the end.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(words), TextColumn("{task.completed:,.0f} " + noun), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(words, total=None)
        yield lambda count: progress.update(task, completed=count)
