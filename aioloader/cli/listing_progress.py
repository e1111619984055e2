"""How many objects a listing has seen so far: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def listing_progress() -> Iterator[Callable[[int], object] | None]:
    """What ``image_folder(on_listed=...)`` tells; on standard error, gone at the end. None where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("listing"), TextColumn("{task.completed:,.0f} objects"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("listing", total=None)
        yield lambda seen: progress.update(task, completed=seen)
