"""Which modes there are, what each needs, and what it says of itself."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from aioloader.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from aioloader.cli.bench.task import Task

BatchAndIds: TypeAlias = "tuple[list[NDArray[Any]], NDArray[np.int64]]"


class Running(Protocol):
    """A mode's file."""

    def quantum(self, task: Task) -> int:
        """How many samples are under way at once where a batch's are fetched one after another; else 0."""
        ...

    def settings(self, task: Task) -> str:
        """Its numbers, as the table states them."""
        ...

    def prepare(self, task: Task) -> None:
        """What lies before the clock: imports."""
        ...

    def batches(self, task: Task) -> AbstractContextManager[Iterator[BatchAndIds]]:
        """Batches in order, with the ids of their samples; what runs ends with the block."""
        ...


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to load. ``made_by`` is its file and class, ``needs`` are modules that have to be there, ``brings`` what
    installs them."""

    name: str
    title: str
    made_by: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    brings: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is aioloader."""
        return self.made_by.startswith("with_aioloader:")

    @property
    def missing(self) -> str:
        """What to type where it is not installed; else empty. Imports nothing."""
        is_there = all(find_spec(name) is not None for name in self.needs)
        return "" if is_there else f"not installed: pip install {self.brings}"

    def load(self) -> Running:
        """Its file, imported."""
        file, _, kind = self.made_by.partition(":")
        module = importlib.import_module(f"aioloader.cli.bench.modes.{file}")
        return cast("Running", getattr(module, kind)(**self.options))


CATALOGUE = {
    mode.name: mode
    for mode in (
        Mode(name="sync", title="sync loop", made_by="sync_loop:SyncLoop"),
        Mode(name="threads", title="threads", made_by="threads:Threads"),
        Mode(name="asyncio", title="asyncio inline", made_by="asyncio_inline:AsyncioInline"),
        Mode(
            name="pydataset-threads",
            title="Keras PyDataset, threads",
            made_by="pydataset:InPyDataset",
            options={"use_multiprocessing": False},
            needs=("keras",),
            brings="keras tensorflow",
        ),
        Mode(
            name="pydataset-processes",
            title="Keras PyDataset, processes",
            made_by="pydataset:InPyDataset",
            options={"use_multiprocessing": True},
            needs=("keras",),
            brings="keras tensorflow",
        ),
        Mode(name="tf.data", title="tf.data", made_by="tf_data:TfData", needs=("tensorflow",), brings="tensorflow"),
        Mode(
            name="torch", title="torch DataLoader", made_by="torch_loader:TorchLoader", needs=("torch",), brings="torch"
        ),
        Mode(
            name="aioloader-threads",
            title="aioloader, asyncio + threads",
            made_by="with_aioloader:WithAioloader",
            options={"use_multiprocessing": False},
        ),
        Mode(
            name="aioloader-processes",
            title="aioloader, asyncio + processes",
            made_by="with_aioloader:WithAioloader",
            options={"use_multiprocessing": True},
        ),
        Mode(name="aioloader", title="aioloader, auto", made_by="with_aioloader:WithAioloader"),
    )
}


def chosen(names: str | None) -> list[Mode]:
    """The modes of a comma-separated list, or all. Raises `OptionError` for one that there is not."""
    if names is None:
        return list(CATALOGUE.values())
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in wanted:
        if name not in CATALOGUE:
            raise OptionError("modes", repr(name), f"some of {', '.join(CATALOGUE)}")
    if not wanted:
        raise OptionError("modes", repr(names), f"some of {', '.join(CATALOGUE)}")
    return [CATALOGUE[name] for name in wanted]
