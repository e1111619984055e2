"""`from_dataframe`: samples from pandas, polars or a dict of columns; imports neither library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.dataset.listed import dataset_in
from aioloader.dataset.rows import RowOptions
from aioloader.dataset.table import Table
from aioloader.errors import OptionError

if TYPE_CHECKING:
    import os

    from aioloader.dataset.labels import LabelMode
    from aioloader.dataset.samples import Column, Dataset
    from aioloader.types import Store


def from_dataframe(
    df: Any,
    *,
    key: str | None = None,
    label: str | None = None,
    root: str | os.PathLike[str] | None = None,
    store: Store | None = None,
    label_mode: LabelMode | None = "int",
    class_names: Sequence[str] | None = None,
    allow_hosts: Sequence[str] = (),
) -> Dataset:
    """One sample a row of ``df``, in its order.

    ``df`` is a dataframe (anything with ``columns`` and columns that have ``to_numpy()``) or a dict from
    names to lists or arrays. ``key`` and ``label`` name columns (default for keys: the first of key, url,
    path, file_name that there is; for labels: none). Keys are relative to ``root``, a URL or a folder;
    without ``root`` and ``store`` they are local paths, all absolute or all relative to the working
    directory. Columns of other meaning are as in `manifest`.

    Raises `OptionError`, or `DatasetError` naming row (from 0) and column.
    """
    columns = _columns(df)
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise OptionError("df", f"columns of lengths {lengths}", "columns of equal length")
    table = Table(
        source="the dataframe",
        columns=columns,
        n_rows=next(iter(lengths.values()), 0),
        place=lambda row: f"row {row}",
    )
    options = RowOptions(key=key, label=label, label_mode=label_mode, class_names=class_names)
    return dataset_in(root, store, table, options, allow_hosts)


def _columns(df: Any) -> dict[str, Column]:
    if isinstance(df, Mapping):
        named: list[tuple[object, Any]] = list(df.items())
    elif hasattr(df, "columns") and hasattr(df, "__getitem__"):
        named = [(name, df[name]) for name in df.columns]
    else:
        raise OptionError("df", f"a {type(df).__name__}", "a dataframe or a dict of columns")
    columns: dict[str, Column] = {}
    for name, cells in named:
        if str(name) in columns:
            raise OptionError("df", f"two columns {str(name)!r}", "columns with different names")
        array = cells.to_numpy() if hasattr(cells, "to_numpy") else cells
        if isinstance(array, np.ndarray):
            # Text and objects as a list: numpy's own str type drops trailing NULs and wastes memory.
            columns[str(name)] = array.tolist() if array.dtype.kind in "OUS" else array
        else:
            columns[str(name)] = list(array)
    return columns
