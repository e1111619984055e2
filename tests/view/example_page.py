"""A page with every chart and what they must cope with."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from aioloader.monitor.histogram import LatencyHistogram
from aioloader.view.charts import (
    BYTES_PER_S,
    SAMPLES_PER_S,
    SHARE,
    Bar,
    Event,
    Layer,
    Series,
    Work,
    area_chart,
    bar_chart,
    count_of,
    histogram_chart,
    line_chart,
    stage_chart,
)
from aioloader.view.page import Section, page, table
from tests.view.test_hostile_text import HOSTILE, charts_with

if TYPE_CHECKING:
    from aioloader.view.markup import Markup

_MODES = ["sync loop", "threads", "asyncio + threads", "asyncio + processes", "Keras PyDataset, 8 threads", "tf.data"]


def _rates(chance: random.Random) -> list[Markup]:
    rate = [(index * 0.7, 900 + 300 * math.sin(index / 20) + chance.gauss(0, 40)) for index in range(300)]
    reasons = [
        (0.5, "8 -> 16"),
        (2, "16 -> 32"),
        (4, "32 -> 64"),
        (60, "64 -> 128"),
        (150, "128 -> 256"),
        (150.5, "256"),
    ]
    events = [
        Event(at, f"{at:g} s: concurrency {change}: requests in flight were at the bound") for at, change in reasons
    ]
    wait = [0.3 + 0.25 * math.sin(index / 15) for index in range(299)]
    layers = [
        Layer("consumer computing", [1 - share for share in wait]),
        Layer("waiting: network latency", [share * 0.7 for share in wait]),
        Layer("waiting: decode CPU", [share * 0.3 for share in wait]),
    ]
    return [
        line_chart("Samples a second", [Series("rate", rate, is_stepped=True)], y=SAMPLES_PER_S, events=events),
        area_chart("Share of each second", [at for at, _ in rate], layers, y=SHARE, top=1),
        line_chart("Bandwidth", [Series("fetched", [(at, value * 66e3) for at, value in rate])], y=BYTES_PER_S),
    ]


def _comparisons(chance: random.Random) -> list[Markup]:
    sweep = [
        Series(
            mode,
            [
                (in_flight, 30 * in_flight / (1 + in_flight / (index * 9 + 2)))
                for in_flight in (1, 2, 4, 8, 16, 32, 64, 128, 256)
            ],
            has_dots=True,
        )
        for index, mode in enumerate(_MODES)
    ]
    bars = [
        Bar(mode, 50 + 200 * index, 40 + 180 * index, 60 + 230 * index, "a note" * index)
        for index, mode in enumerate(_MODES)
    ]
    histogram = LatencyHistogram()
    histogram.record_all(chance.lognormvariate(-3.2, 0.5) for _ in range(20_000))
    quantiles = [
        Event(histogram.quantile(share), f"{share:.0%} took less", f"p{share * 100:.0f}") for share in (0.5, 0.99)
    ]
    works = []
    for index in range(40):
        begin = index * 0.01
        works += [Work("fetch", begin, begin + 0.06, f"{index}.jpg"), Work("decode", begin + 0.06, begin + 0.064)]
    works += [Work("consumer", 0.15 + index * 0.08, 0.2 + index * 0.08) for index in range(5)]
    return [
        line_chart(
            "Throughput against concurrency", sweep, y=SAMPLES_PER_S, x=count_of("requests in flight"), x_base=2
        ),
        bar_chart("Samples a second by mode", bars, x=SAMPLES_PER_S),
        histogram_chart("Fetch", histogram.bins(), events=quantiles),
        stage_chart("Stages", works, lanes=["fetch", "decode", "queue", "consumer"]),
    ]


def _odd() -> list[Markup]:
    return [
        line_chart("One point", [Series("one", [(3, 7)])], y=SAMPLES_PER_S),
        line_chart("Constant", [Series("same", [(0, 5), (9, 5)])], y=SHARE),
        line_chart("Huge", [Series("huge", [(0, -1e300), (1e300, 1e300)])], y=SAMPLES_PER_S),
        line_chart("Tiny", [Series("tiny", [(0, 1e-9), (1e-9, 3e-9)])], y=SAMPLES_PER_S),
        line_chart("Long", [Series("long", [(0, 1), (400_000, 123_456_789)])], y=SAMPLES_PER_S),
        line_chart("Nothing", [], y=SHARE),
        histogram_chart("Wide", LatencyHistogram().bins()),
    ]


def _wide_table() -> Markup:
    columns = ["mode", *(f"{in_flight} in flight" for in_flight in (1, 2, 4, 8, 16, 32, 64))]
    rows = [[mode, *(f"{(index + 1) * 123:,}" for _ in columns[1:])] for index, mode in enumerate(_MODES)]
    return table(columns, rows, numeric=range(1, len(columns)))


def example_page() -> str:
    """The page's HTML."""
    chance = random.Random(1)
    hostile = [chart for name in HOSTILE[:2] + HOSTILE[-7:-2] for chart in charts_with(name)]
    keys = [[f"images/{'x' * index * 20}.jpg", f"{index}.2 s", "66 kB"] for index in range(8)]
    sections = [
        Section("Over time", "What the consumer got, and what it waited for.", _rates(chance)),
        Section("Compared", "Modes against each other.", _comparisons(chance)),
        Section(
            "Slowest keys",
            "The samples whose requests took longest.",
            [table(["key", "time", "size"], keys, numeric=[1, 2])],
        ),
        Section("Wide table", "More columns than a phone has room for.", [_wide_table()]),
        Section("Odd", "Values that are hard to draw.", _odd()),
        Section("Hostile", "Names that want to be markup.", hostile),
    ]
    lead = "The run is decode-bound: 2 threads scale 1.05 times; use_multiprocessing=True should give 1.9 times."
    facts = [("samples/s", "1,203"), ("data wait", "34%"), ("first batch", "1.2 s"), ("fetched", "1.2 GB")]
    return page("aioloader: a run on s3://bucket/train/", lead, sections, facts=facts, footer="aioloader 0.1")
