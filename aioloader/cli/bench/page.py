"""The results as a page: charts of speed, of what the knobs do, and of where the time of aioloader's run went."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from aioloader.cli.bench import table
from aioloader.cli.bench.modes.catalogue import CATALOGUE
from aioloader.cli.bench.results import SWEPT_AT
from aioloader.monitor.histogram import Bin
from aioloader.units import human_time
from aioloader.view import charts
from aioloader.view.page import Section, page
from aioloader.view.page import table as page_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.cli.bench.places import Place
    from aioloader.cli.bench.results import Results
    from aioloader.view.markup import Markup


def bench_page(
    results: Results, places: Sequence[Place], shown_place: Place, lead: str, facts: Sequence[tuple[str, str]]
) -> str:
    """The HTML. ``shown_place`` is where the sweep ran; ``lead`` is the closing sentence."""
    sections = [_speeds(results, places)]
    if len(places) > 1:
        sections.append(_against_latency(results, places))
    if results.sweep:
        sections.append(_sweep(results, shown_place))
    if results.watched:
        sections.append(_own_run(results))
    sections += [_figures(results), _how(results)]
    return page("aioloader bench", lead or "Nothing valid was measured.", sections, facts=facts)


def _speeds(results: Results, places: Sequence[Place]) -> Section:
    parts = []
    for place in places:
        bars = [
            charts.Bar(results.modes[cell.mode], speed.median, speed.low, speed.high)
            for cell in results.cells(place.name)
            if (speed := cell.figures.get("samples_per_s")) is not None
        ]
        parts.append(charts.bar_chart(place.name, bars, x=charts.SAMPLES_PER_S))
    sentence = "Samples a second by mode: the median of the rounds, and from the least to the greatest."
    return Section("Throughput", sentence, parts)


def _against_latency(results: Results, places: Sequence[Place]) -> Section:
    lines = []
    cells = {(cell.mode, place.name): cell for place in places for cell in results.cells(place.name) if cell.figures}
    for mode, title in results.modes.items():
        points = [
            (place.latency_s or 0.0, cells[mode, place.name].speed) for place in places if (mode, place.name) in cells
        ]
        if points:
            lines.append(charts.Series(title, points, has_dots=True))
    groups = [
        ("other loaders", [line for line in lines if not _is_ours(results, line.name)]),
        ("aioloader", [line for line in lines if _is_ours(results, line.name)]),
    ]
    x = charts.Quantity("latency of a request", charts.LATENCY.units)
    parts = [
        charts.line_chart(f"samples a second, {name}", group, y=charts.SAMPLES_PER_S, x=x) for name, group in groups
    ]
    sentence = "What a slower bucket costs: who waits for each request falls steeply, who has many in flight does not."
    return Section("Throughput against latency", sentence, parts)


def _is_ours(results: Results, title: str) -> bool:
    return any(known == title and CATALOGUE[name].is_ours for name, known in results.modes.items())


def _sweep(results: Results, place: Place) -> Section:
    parts = []
    for knob, base, what in (("concurrency", 2, "requests in flight"), ("workers", 2, "workers")):
        lines = []
        for in_processes, name in ((False, "threads"), (True, "processes")):
            points = [
                (float(point.setting.value), point.samples_per_s)
                for point in results.sweep
                if point.setting.knob == knob and point.setting.use_multiprocessing == in_processes
            ]
            if points:
                lines.append(charts.Series(name, points, has_dots=True))
        x = charts.count_of(what, name=what)
        parts.append(charts.line_chart(f"samples a second by {knob}", lines, y=charts.SAMPLES_PER_S, x=x, x_base=base))
    sentence = (
        f"aioloader at {place.name}, one short run a point: one knob fixed, all else at its default, but concurrency="
        f"{SWEPT_AT} wherever it is the workers that change."
    )
    return Section("What the knobs do", sentence, parts)


def _own_run(results: Results) -> Section:
    seen = results.watched
    bins = [Bin(low, high, count) for low, high, count in seen["fetch_bins"]]
    marks = [
        charts.Event(seen[f"fetch_{name}_s"], f"{share} took less than {human_time(seen[f'fetch_{name}_s'])}", name)
        for name, share in (("p50", "half"), ("p99", "99%"))
    ]
    parts = [
        charts.histogram_chart("how long requests took", bins, y=charts.count_of("requests"), events=marks),
        *_stages(seen["looks"]),
    ]
    sentence = f"A longer run at {seen['place']}, {seen['settings']}. Its verdict: {seen['sentence']}"
    return Section("aioloader's own run", sentence, parts)


def _stages(looks: Sequence[dict[str, float]]) -> list[Markup]:
    """Each part over time: seconds of it a second are how many were at it."""
    spans = [(first, last, last["at_s"] - first["at_s"]) for first, last in pairwise(looks)]
    spans = [span for span in spans if span[2] > 0]

    def rate(name: str) -> list[tuple[float, float]]:
        return [(last["at_s"], (last[name] - first[name]) / seconds) for first, last, seconds in spans]

    return [
        charts.line_chart(title, [charts.Series(name, points)], y=y)
        for title, name, points, y in (
            ("requests in flight", "fetching", rate("fetch_s"), charts.count_of("requests")),
            ("decoders at work", "decoding", rate("decode_s"), charts.count_of("decoders")),
            ("share of the time that the consumer waited", "waiting", rate("data_wait_s"), charts.SHARE),
            ("samples a second", "delivered", rate("samples"), charts.SAMPLES_PER_S),
        )
    ]


def _figures(results: Results) -> Section:
    parts = []
    for place in results.places:
        rows = [table.row(results, cell) for cell in results.cells(place)]
        if rows:
            parts.append(page_table((place, *table.COLUMNS[1:]), rows, numeric=range(1, len(table.COLUMNS))))
    sentence = (
        "Medians. CPU is that of a mode's whole process tree, memory its peak; a run is valid where every sample came "
        "once, in its place, and with the same values as from the others."
    )
    return Section("All figures", sentence, parts)


def _how(results: Results) -> Section:
    rows = [line.partition(": ")[::2] for line in table.notes(results)]
    return Section("How each mode ran", "Its own numbers, and what went wrong.", [page_table(("mode", "how"), rows)])
