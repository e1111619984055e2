"""A table read from somewhere: columns by name, and how to name a row in an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aioloader.dataset.samples import Column

MAX_COLUMNS = 1000
"""A manifest whose every row invents a column would otherwise take quadratic memory."""

_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")  # without leading zeros: "007" is a name; 18 digits fit int64
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of a manifest, a dataframe or a list.

    ``source`` is printable ("manifest http://host/m.csv"), ``place(row)`` says where a row stands
    ("line 7"), ``error`` is what an unusable row raises. Where ``typed`` is False every cell is text and
    numbers are still to be told from names (CSV).
    """

    source: str
    columns: Mapping[str, Column]
    n_rows: int
    place: Callable[[int], str]
    typed: bool = True
    error: type[DatasetError] = DatasetError

    def column(self, name: str, option: str) -> Column:
        """The column ``name``; raises ``error`` with the names there are."""
        if name in self.columns:
            return self.columns[name]
        raise self.error(
            f"{self.source} has no column {name!r}; its columns are {', '.join(map(repr, self.columns))}: "
            f"pass {option}=, one of them{' (or None)' if option == 'label' else ''}"
        )

    def places(self, rows: Sequence[int]) -> str:
        """The first five of ``rows``, for a sentence."""
        named = ", ".join(self.place(row) for row in rows[:5])
        return f"{named} and {len(rows) - 5} more" if len(rows) > 5 else named


def collect(rows: Iterable[Mapping[str, Any]], too_many: Callable[[], DatasetError]) -> dict[str, list[Any]]:
    """Rows of names and values as columns; None where a row has no such name."""
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        for name in row:
            if name not in columns:
                if len(columns) == MAX_COLUMNS:
                    raise too_many()
                columns[name] = [None] * number
        for name, cells in columns.items():
            cells.append(row.get(name))
    return columns


def is_number(text: str) -> bool:
    """Whether a CSV cell is a plain decimal number."""
    return _NUMBER.fullmatch(text) is not None


def compact(cells: Column, *, typed: bool) -> Column:
    """The cells as an int64, float64 or bool array where they all are such, else as they are.

    Text that spells numbers is read as such only where the table is not ``typed``.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iufbM":
        return cells.copy()  # the caller's array may be written to later
    if not typed:
        if all(map(_INT.fullmatch, cells)):
            return np.array(list(map(int, cells)), np.int64)
        if all(map(_NUMBER.fullmatch, cells)):
            return np.array(list(map(float, cells)), np.float64)
        return list(cells)
    kinds = set(map(type, cells))
    for wanted, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        if kinds == {wanted}:
            try:
                return np.array(cells, dtype)
            except OverflowError:  # an int beyond 64 bits stays a Python int
                break
    return list(cells)
