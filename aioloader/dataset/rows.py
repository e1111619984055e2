"""From a table to a dataset: which column is what, and every row checked before the first byte is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.dataset.keys import checked_keys, refuse_other_hosts, shown
from aioloader.dataset.labels import (
    LabelMode,
    Labels,
    checked_class_names,
    checked_mode,
    encode,
    frozen,
    is_missing,
)
from aioloader.dataset.samples import Column, Dataset
from aioloader.dataset.table import Table, compact, is_number
from aioloader.errors import EmptyDatasetError
from aioloader.storage.absolute import AbsoluteStore
from aioloader.storage.http.store import HTTPStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aioloader.types import Store

KEY_COLUMNS = ("key", "url", "path", "file_name")
"""Where ``key`` is not given, the first of these that a table has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Which columns hold key and label, and how labels are encoded."""

    key: str | None = None
    label: str | None = "label"
    label_mode: LabelMode | None = "int"
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        checked_mode(self.label_mode)
        checked_class_names(self.class_names)


def dataset_of(
    table: Table,
    options: RowOptions,
    base: Store,
    *,
    allow_hosts: Sequence[str],
    options_of: Store | None,
) -> Dataset:
    """The samples of ``table``, in its order, with keys relative to ``base``.

    ``size`` or ``size_bytes``, ``etag``, and ``offset`` with ``length`` are what their names say; every
    column not used up is carried along. Raises the table's error naming row and column.
    """
    if table.n_rows == 0:
        raise EmptyDatasetError(f"{table.source} has no rows; give it one a sample")
    key_column = key_column_of(table, options.key)
    used = {key_column}
    keys = checked_keys(_listed(table.column(key_column, "key")), table)
    absolute = AbsoluteStore(
        base,
        allow_hosts=allow_hosts,
        http=options_of if isinstance(options_of, HTTPStore) else None,
    )
    store = absolute if refuse_other_hosts(keys, table, absolute) else base

    byte_ranges = None
    if {"offset", "length"} <= table.columns.keys():
        used |= {"offset", "length"}
        byte_ranges = _byte_ranges(table)
    _refuse_duplicates(keys, byte_ranges, table)

    sizes = None
    size_column = next((name for name in ("size_bytes", "size") if name in table.columns), None)
    if size_column is not None:
        used.add(size_column)
        sizes = _whole_numbers(table, size_column)

    etags = None
    if "etag" in table.columns:
        used.add("etag")
        etags = _etags(table)

    labels = None
    mode = options.label_mode
    if mode is not None and options.label is not None:
        used.add(options.label)
        labels = _labels(table, options.label, keys, mode, checked_class_names(options.class_names))

    return Dataset(
        store,
        keys,
        labels=labels,
        sizes=sizes,
        etags=etags,
        byte_ranges=byte_ranges,
        columns={name: compact(cells, typed=table.typed) for name, cells in table.columns.items() if name not in used},
    )


def key_column_of(table: Table, key: str | None) -> str:
    """The name of the column that holds keys, which may not exist."""
    return key or next((name for name in KEY_COLUMNS if name in table.columns), "key")


def _listed(cells: Column) -> Sequence[Any]:
    return cells.tolist() if isinstance(cells, np.ndarray) else cells


def _labels(
    table: Table, name: str, keys: Sequence[str], mode: LabelMode, class_names: tuple[str, ...] | None
) -> Labels:
    raw = table.column(name, "label")
    if not table.typed and not (class_names is not None and set(raw) <= set(class_names)):
        raw = _typed_labels(raw, table, name, class_names)

    def place(row: int) -> str:
        return f"{table.place(row)} ({shown(keys[row])})"

    return encode(raw, mode=mode, class_names=class_names, place=place, source=table.source, error=table.error)


def _typed_labels(raw: Column, table: Table, name: str, class_names: tuple[str, ...] | None) -> Column:
    """CSV labels as numbers, or as they are where none is one.

    One "n/a" must not turn a column of numbers into classes: such a mixture raises the table's error.
    """
    numeric = [is_number(cell) for cell in raw]
    if all(numeric):
        return compact(raw, typed=False)
    filled = [row for row, cell in enumerate(raw) if not is_missing(cell)]
    texts = [row for row in filled if not numeric[row]]
    numbers = [row for row in filled if numeric[row]]
    if texts and numbers and class_names is None:
        number, text = numbers[0], texts[0]
        raise table.error(
            f"{table.source}: column {name!r} mixes numbers ({raw[number]!r} in {table.place(number)}) "
            f"and text ({raw[text]!r} in {table.place(text)}); correct it, "
            "or pass class_names= if all are names"
        )
    return raw


def _whole_numbers(table: Table, name: str) -> NDArray[np.int64]:
    """A column of byte counts, int64; -1 where a cell is empty."""
    cells = table.columns[name]
    if not table.typed:
        cells = [int(cell) if cell.isascii() and cell.isdigit() else cell for cell in cells]
    numbers = np.full(table.n_rows, -1, np.int64)
    for row, cell in enumerate(_listed(cells)):
        if is_missing(cell):
            continue
        whole = isinstance(cell, (int, np.integer)) or (isinstance(cell, float) and cell.is_integer())
        if isinstance(cell, bool) or not whole or not 0 <= cell < 2**63:
            raise table.error(
                f"{table.source}: {table.place(row)} has {str(cell)[:50]!r} in column {name!r}, which holds "
                "whole numbers of bytes; correct it, or rename the column if it means something else"
            )
        numbers[row] = int(cell)
    return frozen(numbers)


def _byte_ranges(table: Table) -> NDArray[np.int64]:
    offsets, lengths = _whole_numbers(table, "offset"), _whole_numbers(table, "length")
    whole = offsets < 0
    half = np.flatnonzero((whole != (lengths < 0)) | (lengths == 0) | (offsets > 2**62) | (lengths > 2**62))
    if len(half):
        raise table.error(
            f"{table.source}: 'offset' and 'length' do not make a byte range in "
            f"{table.places(half.tolist())}; give both, with a length of at least 1, or leave both empty "
            "for the whole object"
        )
    return np.where(whole[:, None], -1, np.stack([offsets, offsets + lengths], axis=1))


def _etags(table: Table) -> list[str | None] | None:
    etags: list[str | None] = []
    for row, cell in enumerate(_listed(table.columns["etag"])):
        if is_missing(cell):
            etags.append(None)
        elif isinstance(cell, str) and cell.isprintable() and len(cell) <= 1024:
            etags.append(cell)
        else:
            raise table.error(f"{table.source}: {table.place(row)} has an etag that is not a short printable text")
    return etags if any(etag is not None for etag in etags) else None


def _refuse_duplicates(keys: Sequence[str], byte_ranges: NDArray[np.int64] | None, table: Table) -> None:
    whole: Sequence[object] = keys
    if byte_ranges is not None:
        whole = list(zip(keys, byte_ranges[:, 0].tolist(), byte_ranges[:, 1].tolist(), strict=True))
    if len(set(whole)) == len(whole):
        return
    first_rows: dict[object, int] = {}
    pairs = [(first, row) for row, one in enumerate(whole) if (first := first_rows.setdefault(one, row)) != row]
    named = ", ".join(f"{shown(keys[row])} in {table.place(first)} and {table.place(row)}" for first, row in pairs[:5])
    more = f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
    raise table.error(f"{table.source} names the same bytes twice: {named}{more}; keep one row each")
