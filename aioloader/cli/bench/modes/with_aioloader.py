"""`aioloader.Loader`: decoding in threads, in processes, or with every knob at its default."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aioloader.cli.decode_option import decoding
from aioloader.loader import Loader
from aioloader.runtime.machine import usable_cores
from aioloader.tree import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.cli.bench.modes.catalogue import BatchAndIds
    from aioloader.cli.bench.task import Task


class WithAioloader:
    """``use_multiprocessing`` None leaves that knob at its default too."""

    def __init__(self, use_multiprocessing: bool | None = None) -> None:
        self._options: dict[str, Any] = {}
        if use_multiprocessing is not None:
            self._options["use_multiprocessing"] = use_multiprocessing
        self.loader: Loader | None = None

    def quantum(self, task: Task) -> int:
        """None: a batch's samples come together."""
        return 0

    def settings(self, task: Task) -> str:
        """The knobs that are not at their default, and what became of those that are."""
        if not self._options:
            came_to = {} if self.loader is None else {change.knob: change.value for change in self.loader.changes}
            words = ", ".join(f"{knob}={value}" for knob, value in came_to.items())
            return "all defaults" + (f", which came to {words}" if words else "")
        return f"use_multiprocessing={self._options['use_multiprocessing']}, {usable_cores()} workers"

    def prepare(self, task: Task) -> None:
        """The decoder's imports."""
        decoding(task.decode, task.largest_bytes)

    @contextmanager
    def batches(self, task: Task) -> Iterator[Iterator[BatchAndIds]]:
        """One epoch of a fresh loader, which can be asked while the block runs."""
        made = decoding(task.decode, task.largest_bytes)
        options = self._options | dict(task.knobs)
        loader = Loader(task.data, decode=made.decode, spec=made.spec, batch_size=task.batch_size, **options)
        with loader:
            self.loader = loader
            yield (([array for _, array in flatten(tuple(batch))], batch.sample_ids) for batch in loader)
