"""`from_samples`: a dataset from the caller's own list; and where such lists' keys are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from aioloader.dataset.rows import RowOptions, dataset_of, key_column_of
from aioloader.dataset.table import MAX_COLUMNS, Table, collect
from aioloader.errors import DatasetError, OptionError
from aioloader.storage.url import open_store
from aioloader.types import SampleRef, Store

if TYPE_CHECKING:
    from aioloader.dataset.labels import LabelMode
    from aioloader.dataset.samples import Dataset

Listed: TypeAlias = str | os.PathLike[str] | tuple[str | os.PathLike[str], Any] | SampleRef | Mapping[str, Any]


def from_samples(
    samples: Iterable[Listed],
    *,
    root: str | os.PathLike[str] | None = None,
    store: Store | None = None,
    label_mode: LabelMode | None = "int",
    class_names: Sequence[str] | None = None,
    allow_hosts: Sequence[str] = (),
) -> Dataset:
    """The samples listed, in that order.

    Each is a key, a pair ``(key, label)``, a dict (``"key"``, ``"label"``, and other columns as in
    `manifest`), or a `SampleRef` (its index is counted anew). Either all have a label or none has. Keys are
    relative to ``root``, a URL or a folder; without ``root`` and ``store`` they are local paths, absolute or
    relative to the working directory. Absolute URLs need their host in ``allow_hosts``.

    Raises `OptionError`, or `DatasetError` naming the sample's place in the list (from 0).
    """
    if isinstance(samples, (str, Mapping)):
        raise OptionError("samples", f"a {type(samples).__name__}", "a list of keys or of (key, label) pairs")
    columns = collect(
        (_row(sample, place) for place, sample in enumerate(samples)),
        lambda: DatasetError(f"the samples have more than {MAX_COLUMNS} columns"),
    )
    table = Table(
        source="the list of samples",
        columns=columns,
        n_rows=len(next(iter(columns.values()), [])),
        place=lambda row: f"sample {row}",
    )
    options = RowOptions(
        key="key",
        label="label" if "label" in columns else None,
        label_mode=label_mode,
        class_names=class_names,
    )
    return dataset_in(root, store, table, options, allow_hosts)


def dataset_in(
    root: str | os.PathLike[str] | None,
    store: Store | None,
    table: Table,
    options: RowOptions,
    allow_hosts: Sequence[str],
) -> Dataset:
    """The rows of ``table`` under ``root``, in ``store``, or on the local disk where neither is given."""
    if root is None and store is None:
        table = _with_local_paths(table, key_column_of(table, options.key))

    here = "/" if root is None else root
    base = store if store is not None and root is None else open_store(here, store)
    return dataset_of(table, options, base, allow_hosts=allow_hosts, options_of=store)


def _with_local_paths(table: Table, key_column: str) -> Table:
    """The table with paths made relative to the disk's root; URLs stay."""

    def relative(cell: Any) -> Any:
        path = os.fspath(cell) if isinstance(cell, os.PathLike) else cell
        if not isinstance(path, str) or not path or "://" in path:
            return cell
        return os.path.abspath(path).lstrip("/")  # noqa: PTH100  # Path keeps "..", and is ten times slower

    if key_column not in table.columns:
        return table
    return replace(table, columns={**table.columns, key_column: [relative(cell) for cell in table.columns[key_column]]})


def _row(sample: object, place: int) -> Mapping[str, Any]:
    if isinstance(sample, (str, os.PathLike)):
        return {"key": os.fspath(sample)}
    if isinstance(sample, Mapping):
        return sample
    if isinstance(sample, SampleRef):
        row: dict[str, Any] = {**sample.columns, "key": sample.key}
        if sample.label is not None:
            row["label"] = sample.label
        if sample.size_bytes is not None:
            row["size_bytes"] = sample.size_bytes
        if sample.etag is not None:
            row["etag"] = sample.etag
        if sample.byte_range is not None:
            start, stop = sample.byte_range
            row |= {"offset": start, "length": stop - start}
        return row
    if isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], (str, os.PathLike)):
        return {"key": os.fspath(sample[0]), "label": sample[1]}
    raise DatasetError(
        f"sample {place} of the list is a {type(sample).__name__}; "
        "give a key, a (key, label) pair, a dict or a SampleRef"
    )
