"""Manifests as Parquet; the one file that imports pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioloader.dataset.table import MAX_COLUMNS, Table
from aioloader.errors import DatasetError, ManifestError

if TYPE_CHECKING:
    from aioloader.dataset.samples import Column


MAX_UNPACKED_BYTES = 4 << 30
"""Parquet is compressed: what it may unpack to."""


def read_parquet(body: bytes, source: str) -> Table:
    """The table; rows are counted from 1. Raises `ManifestError` where it is broken or too large."""
    try:
        import pyarrow as pa
        from pyarrow import parquet as pq
    except ImportError as exc:
        raise DatasetError(f"{source} needs pyarrow to be read; install it: pip install 'aioloader[parquet]'") from exc
    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        names = file.schema_arrow.names
        if len(names) > MAX_COLUMNS:
            raise ManifestError(f"{source} has {len(names)} columns; {MAX_COLUMNS} is the most")
        cells: list[list[Any]] = [[] for _ in names]
        unpacked_bytes = 0
        for batch in file.iter_batches(batch_size=65_536):
            unpacked_bytes += batch.nbytes  # counted while unpacking: the file's own claim proves nothing
            if unpacked_bytes > MAX_UNPACKED_BYTES:
                raise ManifestError(f"{source} unpacks to more than {MAX_UNPACKED_BYTES} bytes; split it")
            for column, array in zip(cells, batch.columns, strict=True):
                column.extend(array.to_pylist())
    except pa.ArrowException as exc:
        raise ManifestError(f"{source} is not readable Parquet: {exc}") from exc
    columns: dict[str, Column] = dict(zip(names, cells, strict=True))
    if len(columns) != len(names):
        raise ManifestError(f"{source} has two columns of one name; give every column its own")
    return Table(
        source=source,
        columns=columns,
        n_rows=len(cells[0]) if cells else 0,
        place=lambda row: f"row {row + 1}",
        error=ManifestError,
    )
