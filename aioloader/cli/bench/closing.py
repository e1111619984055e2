"""The sentence at the end: what is fastest, by how much, and what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.cli.bench.modes.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.cli.bench.results import Cell, Results

LIKELY = ("pydataset-threads", "tf.data", "pydataset-processes", "torch", "sync")
"""What a reader most likely has now, the likeliest first."""


def closing(results: Results, place: str, *, decode_code: str, batch_size: int) -> str:
    """About ``place``; empty before anything valid ran there."""
    cells = [cell for cell in results.cells(place) if cell.figures]
    if not cells:
        return ""
    best, ours = cells[0], next((cell for cell in cells if CATALOGUE[cell.mode].is_ours), None)
    words = f"At {place}: fastest is {results.modes[best.mode]} with {best.speed:,.0f} samples/s"
    if (compared := _compared(results, cells, best)) != "":
        words += f", {compared}"
    if ours is None:
        return words + "."
    if ours is not best:
        words += f"; aioloader reaches {ours.speed / best.speed:.0%} of it ({results.modes[ours.mode]})"
    return f"{words}. In code: {code_of(ours.mode, decode_code, batch_size)}"


def _compared(results: Results, cells: Sequence[Cell], best: Cell) -> str:
    """Over PyDataset and tf.data, or where these are missing the likeliest of the others."""
    known = {cell.mode: cell for cell in cells if cell is not best and not CATALOGUE[cell.mode].is_ours}
    wanted = [known[name] for name in LIKELY[:2] if name in known]
    wanted = wanted or [known[name] for name in LIKELY if name in known][:1]
    return " and ".join(f"{best.speed / cell.speed:.1f} times {results.modes[cell.mode]}" for cell in wanted)


def code_of(mode: str, decode_code: str, batch_size: int) -> str:
    """The call of `aioloader.Loader` that runs as ``mode`` did."""
    knobs = {"aioloader-threads": ", use_multiprocessing=False", "aioloader-processes": ", use_multiprocessing=True"}
    return f"al.Loader(data, decode={decode_code}, batch_size={batch_size}{knobs.get(mode, '')})"
