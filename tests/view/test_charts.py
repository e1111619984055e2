"""Charts: everything is drawn where its number says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.monitor.histogram import Bin, LatencyHistogram
from aioloader.view.charts import (
    LATENCY,
    SAMPLES_PER_S,
    SHARE,
    TIME,
    Bar,
    Event,
    Layer,
    Quantity,
    Series,
    Work,
    area_chart,
    bar_chart,
    count_of,
    histogram_chart,
    line_chart,
    stage_chart,
)
from tests.view.reading import drawn, points, read, size, with_class, words

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def test_a_line_goes_through_its_points() -> None:
    root = read(line_chart("Rate", [Series("rate", [(0, 0), (5, 50), (10, 100)])], y=SAMPLES_PER_S))
    (line,) = drawn(root, "line")
    assert points(line.get("d", "")) == [(0, 1000), (500, 500), (1000, 0)]


def test_points_are_drawn_in_the_order_of_time_whatever_order_they_come_in() -> None:
    root = read(line_chart("Rate", [Series("rate", [(10, 100), (0, 0), (5, 50)])], y=SAMPLES_PER_S))
    (line,) = drawn(root, "line")
    assert points(line.get("d", "")) == [(0, 1000), (500, 500), (1000, 0)]


def test_a_stepped_line_holds_its_value_until_the_next() -> None:
    series = Series("bound", [(0, 25), (4, 100), (10, 100)], is_stepped=True)
    (line,) = drawn(read(line_chart("Bound", [series], y=SAMPLES_PER_S)), "line")
    assert points(line.get("d", "")) == [(0, 750), (400, 750), (400, 0), (1000, 0)]


def test_a_logarithmic_axis_gives_each_doubling_the_same_width() -> None:
    series = Series("rate", [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1)], has_dots=True)
    root = read(line_chart("Sweep", [series], y=SAMPLES_PER_S, x=count_of("requests in flight"), x_base=2))
    (line,) = drawn(root, "line")
    assert [x for x, _ in points(line.get("d", ""))] == [0, 250, 500, 750, 1000]
    assert [size(dot, "cx") for dot in with_class(root, "dot")] == [0, 25, 50, 75, 100]
    assert [tick.text for tick in with_class(root, "tick") if tick.get("dy") == "18"] == ["1", "2", "4", "8", "16"]


def test_the_axis_of_values_ends_at_a_round_number_and_says_its_unit() -> None:
    root = read(line_chart("Rate", [Series("rate", [(0, 3), (200, 1203)])], y=SAMPLES_PER_S))
    labels = [tick.text for tick in with_class(root, "tick")]
    assert labels[:4] == ["0", "500", "1,000", "1,500"]
    assert labels[4:] == ["0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]
    assert [unit.text for unit in with_class(root, "unit")] == ["samples/s", "time, min"]


@dataclass(frozen=True)
class Moments:
    id: str
    values: list[tuple[float, float]]


EDGES = [
    Moments("one point", [(3.0, 7.0)]),
    Moments("constant", [(0, 5), (1, 5), (2, 5)]),
    Moments("constant zero", [(0, 0), (9, 0)]),
    Moments("one moment", [(4, 1), (4, 2), (4, 3)]),
    Moments("huge", [(-1.7e308, -1.7e308), (1.7e308, 1.7e308)]),
    Moments("tiny", [(0, 5e-324), (5e-324, 0)]),
    Moments("far from zero", [(1e15, 1e15), (1e15 + 1, 1e15 + 1)]),
    Moments("not numbers", [(0, 1), (1, float("nan")), (float("inf"), 2), (2, float("-inf")), (3, 3)]),
]


@pytest.mark.parametrize("case", EDGES, ids=lambda case: case.id)
def test_odd_values_are_drawn_inside_the_frame(case: Moments) -> None:
    root = read(line_chart("Odd", [Series("odd", case.values)], y=SAMPLES_PER_S))
    check_frame(root)
    (line,) = drawn(root, "line")
    assert points(line.get("d", ""))


def test_one_point_is_a_dot() -> None:
    root = read(line_chart("Once", [Series("once", [(3, 50)])], y=SAMPLES_PER_S, top=100))
    (dot,) = with_class(root, "dot")
    assert (size(dot, "cx"), size(dot, "cy")) == (0, 50)


def check_frame(root: ET.Element) -> None:
    """What holds for every chart that shows something."""
    (plot,) = with_class(root, "plot", "svg")
    assert plot.get("role") == "img"
    assert (plot.get("aria-label") or "").endswith(".")
    levels = [size(tick, "y") for tick in with_class(root, "tick") if tick.get("text-anchor") == "end"]
    across = [tick for tick in with_class(root, "tick") if tick.get("dy") == "18"]
    for places in ([size(tick, "x") for tick in across], levels[::-1]):
        assert all(0 <= place <= 100 for place in places)
        assert all(before < after for before, after in pairwise(places))
    assert len(across) <= 9
    assert len([tick for tick in across if "extra" not in tick.get("class", "").split()]) <= 5
    for line in drawn(root, "line"):
        corners = points(line.get("d", ""))
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in corners)
        assert all(before[0] <= after[0] for before, after in pairwise(corners))
    for hint in with_class(root, "hint"):
        assert 0 <= size(hint, "x") <= 100
        assert 0 <= size(hint, "width") <= 100


@given(
    st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=8), max_size=4), st.booleans(), st.sampled_from([0, 2, 10])
)
def test_lines_through_any_points_stay_inside(
    lines: list[list[tuple[float, float]]], is_stepped: bool, base: int
) -> None:
    series = [Series(f"line {index}", values, is_stepped, has_dots=True) for index, values in enumerate(lines)]
    root = read(
        line_chart(
            "Any",
            series,
            y=LATENCY,
            x_base=base,
            events=[Event(value[0], "it") for value in lines[0][:2]] if lines else (),
        )
    )
    if with_class(root, "empty"):
        assert not drawn(root, "line")
    else:
        check_frame(root)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=30), st.sampled_from([TIME, LATENCY, SHARE, SAMPLES_PER_S]))
def test_a_larger_value_is_never_drawn_lower(values: list[float], y: Quantity) -> None:
    root = read(line_chart("Any", [Series("any", list(enumerate(values)))], y=y))
    (line,) = drawn(root, "line")
    heights = [1000 - down for _, down in points(line.get("d", ""))]
    order = sorted(zip(values, heights, strict=True))
    assert all(before[1] <= after[1] for before, after in pairwise(order))


def test_layers_lie_on_each_other_and_are_as_thick_as_their_values() -> None:
    layers = [Layer("computing", [0.75, 0.5]), Layer("waiting", [0.25, 0.5])]
    root = read(area_chart("Each second", [0, 1, 5], layers, y=SHARE, top=1))
    lower, upper = (points(area.get("d", "")) for area in drawn(root, "area"))
    assert lower == [(0, 250), (200, 250), (200, 500), (1000, 500), (1000, 1000), (200, 1000), (200, 1000), (0, 1000)]
    assert upper == [(0, 0), (200, 0), (200, 0), (1000, 0), (1000, 500), (200, 500), (200, 250), (0, 250)]
    assert "computing 55%, waiting 45%." in with_class(root, "plot")[0].get("aria-label", "")


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=12))
def test_areas_of_any_values_stay_inside(rows: list[list[float]]) -> None:
    layers = [Layer(f"layer {index}", [row[index] for row in rows]) for index in range(3)]
    root = read(area_chart("Any", [0.5 * edge for edge in range(len(rows) + 1)], layers, y=SAMPLES_PER_S))
    if not with_class(root, "empty"):
        check_frame(root)
    for area in drawn(root, "area"):
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in points(area.get("d", "")))


def test_a_span_without_an_end_is_left_out_of_the_areas() -> None:
    root = read(area_chart("Some", [0, 1, 1, 2], [Layer("one", [1, 99, 1])], y=SAMPLES_PER_S))
    (area,) = drawn(root, "area")
    assert [y for _, y in points(area.get("d", ""))] == [0, 0, 0, 0, 1000, 1000, 1000, 1000]


def test_bars_are_as_long_as_their_figures_and_whiskers_end_at_theirs() -> None:
    bars = [Bar("sync", 25, 25, 25), Bar("threads", 50, 40, 90, "noisy"), Bar("processes", 100, 100, 100)]
    root = read(bar_chart("Modes", bars, x=SAMPLES_PER_S))
    assert [(size(bar, "x"), size(bar, "width")) for bar in drawn(root, "bar")] == [(0, 250), (0, 500), (0, 1000)]
    tops = [size(bar, "y") for bar in drawn(root, "bar")]
    assert tops == sorted(tops)
    (whisker,) = drawn(root, "whisker")
    ends = [x for x, _ in points(whisker.get("d", ""))]
    assert (min(ends), max(ends)) == (400, 900)
    assert "50 (40 to 90)" in words(root)
    assert "noisy" in words(root)
    sentence = with_class(root, "plot")[0].get("aria-label")
    assert sentence == "Modes: 3 bars; the longest is processes with 100 samples/s."


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=6))
def test_bars_of_any_figures_stay_inside(rows: list[tuple[float, float, float]]) -> None:
    bars = [Bar(f"bar {index}", *sorted_row(row)) for index, row in enumerate(rows)]
    root = read(bar_chart("Any", bars, x=LATENCY))
    for bar in drawn(root, "bar"):
        assert size(bar, "x") >= 0
        assert size(bar, "width") >= 0
        assert size(bar, "x") + size(bar, "width") <= 1000.01
    for whisker in drawn(root, "whisker"):
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in points(whisker.get("d", "")))


def sorted_row(row: tuple[float, float, float]) -> tuple[float, float, float]:
    """Middle, low, high."""
    low, middle, high = sorted(row)
    return middle, low, high


def test_columns_of_a_histogram_are_as_high_as_their_counts_and_as_wide_as_their_bins() -> None:
    bins = [Bin(0.001, 0.002, 100), Bin(0.002, 0.004, 50), Bin(0.004, 0.008, 0), Bin(0.008, 0.016, 25)]
    root = read(histogram_chart("Fetch", bins, events=[Event(0.004, "half took less", "p50")]))
    columns = drawn(root, "column")
    assert [(size(one, "x"), size(one, "height")) for one in columns] == [(0, 1000), (250, 500), (750, 250)]
    assert {size(one, "width") for one in columns} == {250}
    assert [(size(badge, "x"), badge.text) for badge in with_class(root, "badge")] == [(50, "p50")]
    assert not with_class(root, "events")
    ticks = [tick.text for tick in with_class(root, "tick") if tick.get("dy") == "18"]
    assert ticks == ["1 ms", "2 ms", "5 ms", "10 ms"]


@given(st.lists(st.floats(0, 1e5), max_size=40), st.sampled_from([1, 2, 4, 8]))
def test_a_latency_histogram_is_shown_whole(durations: list[float], per_octave: int) -> None:
    histogram = LatencyHistogram()
    histogram.record_all(durations)
    bins = histogram.bins(per_octave)
    assert sum(one.count for one in bins) == len(durations)
    assert all(before.high == after.low for before, after in pairwise(bins))
    root = read(histogram_chart("Any", bins))
    assert len(drawn(root, "column")) == sum(one.count > 0 for one in bins)
    if durations:
        check_frame(root)


def test_work_is_drawn_in_its_lane_for_as_long_as_it_took() -> None:
    works = [Work("fetch", 0, 0.5, "a.jpg"), Work("fetch", 0.25, 0.75), Work("decode", 0.5, 1.0, "a.jpg")]
    root = read(stage_chart("Stages", works, lanes=["fetch", "queue", "decode"]))
    assert [(size(one, "x"), size(one, "width")) for one in drawn(root, "work")] == [(0, 500), (250, 500), (500, 500)]
    fetch, _, decode = (size(one, "y") for one in drawn(root, "work"))
    assert decode - fetch == pytest.approx(2000 / 3, abs=0.02)  # the queue's lane is between, and empty
    assert [name.text for name in root.iter("b")] == ["fetch", "queue", "decode"]
    assert "decode, 500 ms to 1 s: a.jpg" in words(root)


@given(st.lists(st.tuples(st.sampled_from("abc"), NUMBERS, NUMBERS), max_size=8))
def test_work_of_any_time_stays_inside(rows: list[tuple[str, float, float]]) -> None:
    root = read(stage_chart("Any", [Work(*row) for row in rows]))
    for one in drawn(root, "work"):
        assert size(one, "x") >= 0
        assert 0 < size(one, "width") <= 1000
        assert size(one, "x") + size(one, "width") <= 1000.6


@pytest.mark.parametrize(
    "markup",
    [
        line_chart("Empty", [], y=SHARE),
        line_chart("Empty", [Series("none", [])], y=SHARE),
        line_chart("Empty", [Series("none", [(float("nan"), 1)])], y=SHARE),
        area_chart("Empty", [], [], y=SHARE),
        area_chart("Empty", [1.0], [Layer("none", [])], y=SHARE),
        bar_chart("Empty", [], x=SHARE),
        histogram_chart("Empty", []),
        histogram_chart("Empty", [Bin(1, 2, 0)]),
        stage_chart("Empty", [], lanes=["fetch"]),
    ],
)
def test_a_chart_of_nothing_says_so(markup: str) -> None:
    root = read(markup)
    assert [found.text for found in with_class(root, "empty")] == ["Nothing was recorded."]
    assert not list(root.iter("svg"))


def test_events_are_numbered_in_the_order_of_time_and_listed() -> None:
    events = [Event(50, "workers 1 -> 2"), Event(10, "concurrency 64 -> 128: it grew"), Event(10.1, "a third")]
    root = read(line_chart("Rate", [Series("rate", [(0, 1), (100, 1)])], y=SAMPLES_PER_S, events=events))
    assert [entry.text for entry in root.iter("li")] == ["concurrency 64 -> 128: it grew", "a third", "workers 1 -> 2"]
    assert [(badge.text, size(badge, "x")) for badge in with_class(root, "badge")] == [("1", 10), ("3", 50)]
    assert [size(line, "x1") for line in with_class(root, "event")] == [10, 10.1, 50]


def test_many_events_are_folded_and_the_rest_counted() -> None:
    events = [Event(at, f"change {at}") for at in range(100)]
    root = read(line_chart("Rate", [Series("rate", [(0, 1), (100, 1)])], y=SAMPLES_PER_S, events=events))
    shown, folded = with_class(root, "events")
    assert len(list(shown)) == 6
    assert folded.get("start") == "7"
    assert list(folded)[-1].text == "and 40 more"
    assert [found.text for found in root.iter("summary")] == ["55 more"]


def test_several_series_have_a_legend_and_differ_by_more_than_colour() -> None:
    series = [Series(f"series {index}", [(0, index), (1, index)]) for index in range(35)]
    root = read(line_chart("Many", series, y=SAMPLES_PER_S))
    (legend,) = with_class(root, "legend")
    assert len(list(legend)) == 35
    assert len({line.get("class") for line in drawn(root, "line")}) == 35
    assert not with_class(read(line_chart("One", series[:1], y=SAMPLES_PER_S)), "legend")


def test_pointing_at_a_chart_shows_its_values() -> None:
    series = [Series("a", [(0, 10), (10, 20)]), Series("b", [(10, 0.5)])]
    root = read(line_chart("Rate", series, y=SAMPLES_PER_S))
    hints = [hint.findtext("title") for hint in with_class(root, "hint")]
    assert hints == ["0 s: a 10 samples/s", "10 s: a 20 samples/s, b 0.5 samples/s"]
