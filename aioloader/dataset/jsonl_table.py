"""Manifests as JSON lines: one object a line, one line a sample, in UTF-8."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.dataset.table import MAX_COLUMNS, Table, collect
from aioloader.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES = 1 << 20
"""A line holds one sample's key and label; one of a megabyte is another kind of file."""


def read_json_lines(body: bytes, source: str) -> Table:
    """The table; blank lines are passed over. Raises `ManifestError` naming the line."""
    lines: list[int] = []
    columns = collect(
        _objects(body, source, lines),
        lambda: ManifestError(f"{source}: line {lines[-1]} makes more than {MAX_COLUMNS} columns"),
    )
    line_numbers = np.array(lines, np.int64)
    return Table(
        source=source,
        columns=columns,
        n_rows=len(lines),
        place=lambda row: f"line {line_numbers[row]}",
        error=ManifestError,
    )


def _objects(body: bytes, source: str, lines: list[int]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(io.BytesIO(body.removeprefix(b"\xef\xbb\xbf")), 1):
        if line.isspace():
            continue
        if len(line) > MAX_LINE_BYTES:
            raise ManifestError(
                f"{source}: line {number} has {len(line)} bytes, {MAX_LINE_BYTES} is the most; "
                "JSON lines hold one object a line, not one for the whole file"
            )
        try:
            row = json.loads(line.decode())  # bytes would be guessed at: UTF-16 too
        except (ValueError, RecursionError) as exc:  # ValueError: bad JSON, bad UTF-8, an endless number
            raise ManifestError(f"{source}: line {number} is not JSON: {exc}") from exc
        if not isinstance(row, dict):
            raise ManifestError(
                f"{source}: line {number} is a {type(row).__name__}; every line is an object such as "
                '{"key": "cats/1.jpg", "label": "cat"}'
            )
        lines.append(number)
        yield row
