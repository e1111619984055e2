"""The results on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aioloader.cli.bench.neighbours import TOLD_FROM

if TYPE_CHECKING:
    from aioloader.cli.bench.results import Cell, Results

_WIDTH = 110
"""Of a table that goes to a file or a pipe."""
COLUMNS = ("", "samples/s", "min to max", "first batch", "CPU s per 1,000", "peak MB", "valid runs")


def row(results: Results, cell: Cell) -> list[str]:
    """A mode's cells, as `COLUMNS` name them."""
    if not cell.figures:
        return [results.modes[cell.mode], "", "", "", "", "", cell.validity]
    speed, first, cpu, peak = (cell.figures[name] for name in
                               ("samples_per_s", "first_batch_s", "cpu_s_per_1000", "peak_bytes"))  # fmt: skip
    return [
        results.modes[cell.mode],
        figure(speed.median),
        f"{figure(speed.low)} to {figure(speed.high)}",
        f"{first.median:.2f} s",
        f"{cpu.median:.2f}",
        f"{peak.median / 1e6:,.0f}",
        cell.validity,
    ]


def figure(value: float) -> str:
    """Samples a second: slow ones with a decimal."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def notes(results: Results) -> list[str]:
    """How each mode ran, what went wrong, and what is not installed."""
    lines = []
    if results.others_share >= TOLD_FROM:
        lines.append(
            f"disturbed: other programs took {results.others_share:.0%} of the cores meanwhile; "
            "measure again when the machine is quiet"
        )
    for name, title in results.modes.items():
        if name in results.missing:
            lines.append(f"{title}: {results.missing[name]}")
            continue
        if settings := results.settings(name):
            lines.append(f"{title}: {settings}")
        for place in results.places:
            for cell in results.cells(place):
                if cell.mode == name:
                    lines += [f"{title}, {place}: {complaint}" for complaint in cell.complaints]
    return lines


def print_tables(results: Results) -> None:
    """One table a place, and the notes."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for place in results.places:
        cells = results.cells(place)
        if not cells:
            continue
        table = Table(title=place, title_justify="left", box=None, pad_edge=False)
        for number, name in enumerate(COLUMNS):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for cell in cells:
            table.add_row(*row(results, cell))
        console.print(table)
        console.print()
    for line in notes(results):
        console.print("  " + line, markup=False, soft_wrap=True)
