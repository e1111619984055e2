"""Manifests as CSV: a header row, then one row a sample, in UTF-8 (a byte order mark is fine)."""

from __future__ import annotations

import csv
import io

import numpy as np

from aioloader.dataset.table import MAX_COLUMNS, Table
from aioloader.errors import ManifestError


def read_csv(body: bytes, source: str) -> Table:
    """The table; cells are text, blank lines are passed over. Raises `ManifestError` naming the line."""
    lines: list[int] = []
    with io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            _check_header(header, source)
            cells: list[list[str]] = [[] for _ in header]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ManifestError(
                        f"{source}: line {reader.line_num} has {len(row)} cells and the header has "
                        f"{len(header)}; quote cells that hold commas"
                    )
                lines.append(reader.line_num)
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell)
        except csv.Error as exc:
            raise ManifestError(f"{source}: line {reader.line_num} is not CSV: {exc}; correct its quotes") from exc
        except UnicodeDecodeError as exc:
            raise ManifestError(
                f"{source}: line {_undecodable_line(body)} is not UTF-8; save the manifest as UTF-8"
            ) from exc
    line_numbers = np.array(lines, np.int64)
    return Table(
        source=source,
        columns=dict(zip(header, cells, strict=True)),
        n_rows=len(lines),
        place=lambda row: f"line {line_numbers[row]}",
        typed=False,
        error=ManifestError,
    )


def _undecodable_line(body: bytes) -> int:
    # The reader decodes in blocks and may have met the fault lines ahead; only a failure pays for this.
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return body.count(b"\n", 0, exc.start) + 1
    return 1


def _check_header(header: list[str], source: str) -> None:
    if not header:
        raise ManifestError(f"{source} is empty; its first line names the columns, such as 'key,label'")
    if len(header) > MAX_COLUMNS:
        raise ManifestError(f"{source} has {len(header)} columns; {MAX_COLUMNS} is the most")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        fault = f"names {twice[0]!r} twice" if twice and twice[0] else "leaves a column without a name"
        raise ManifestError(f"{source}: the header {fault}; give every column its own name")
