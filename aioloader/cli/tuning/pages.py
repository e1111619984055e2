"""What was found, as a page with charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.cli.tuning.contenders import against
from aioloader.cli.tuning.words import littles_law
from aioloader.tune.keras_numbers import in_words
from aioloader.units import human_bytes, human_time
from aioloader.view import charts
from aioloader.view.markup import Markup, element, text
from aioloader.view.over_time import OverTime
from aioloader.view.page import Section, page, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.cli.tuning.findings import Findings
    from aioloader.cli.tuning.watched import Watched

_SMOOTHED_S = 1.0
_NEW_LINE = Markup("\n")


def tune_page(findings: Findings) -> str:
    """The page's HTML."""
    watched, found = findings.watched, findings.recommendation
    sections: list[Section] = []
    if found is not None:
        sentence = f"{found.samples_per_s:,.0f} samples/s: {found.reason}."
        if findings.keras:
            sentence += f" Keras' numbers for the same: {in_words(findings.keras, findings.batch_size)}."
        sections.append(Section("What to write", sentence, [_code(findings.code)]))
    if watched is not None:
        sections.append(_over_time(watched))
    if findings.lanes and findings.lanes[0].rates:
        sections.append(_neighbours(findings))
    if watched is not None:
        sections.append(_latencies(findings, watched))
    lead = watched.verdict.sentence if watched is not None else "It was ended before the loader had run."
    if (law := littles_law(findings)) != "":
        lead += f". Little's law: {law}."
    if findings.failure:
        lead += f" It ended early: {findings.failure}"
    footer = "Made by aioloader tune. Nothing on this page is loaded from elsewhere."
    return page(f"aioloader tune: {findings.listed.name}", lead, sections, facts=_facts(findings), footer=footer)


def _facts(findings: Findings) -> Sequence[tuple[str, str]]:
    facts = [("samples", f"{len(findings.listed.data):,} of {findings.listed.total:,}")]
    requests, decodes, watched = findings.requests, findings.decodes, findings.watched
    facts.append(("decode", f"{findings.decode}, {findings.batch_size} a batch"))
    if findings.step_time_s:
        facts.append(("the model's step", human_time(findings.step_time_s)))
    if requests is not None:
        times = " / ".join(human_time(requests.quantile_s(share)) for share in (0.5, 0.95, 0.99))
        facts.append(("a request alone, p50 / p95 / p99", times))
        facts.append(("bytes of a sample", human_bytes(requests.as_dict()["mean_bytes"])))
    if decodes is not None:
        facts.append(("decoding on one thread", human_time(decodes.sample_s)))
        if decodes.scaling is not None:
            facts.append(("two threads", f"{decodes.scaling:.2f} times one's work"))
        facts.append(("memory of a batch", human_bytes(decodes.batch_bytes)))
    facts.append(("cores", str(findings.cores)))
    if watched is not None:
        facts += [('samples a second, all "auto"', f"{watched.samples_per_s:,.0f}"), ("limit", watched.verdict.limit)]
    return facts


def _code(program: str) -> Markup:
    lines = [part for line in program.split("\n") for part in (text(line, 400), _NEW_LINE)]
    return element("pre", element("code", *lines), class_="scrolls", tabindex=0)


def _over_time(watched: Watched) -> Section:
    over_time = OverTime(watched.timeline)
    points: list[tuple[float, float]] = []
    first = None
    for span in over_time.spans:
        first = first or span.first
        if span.last.at_s - first.at_s >= _SMOOTHED_S or span is over_time.spans[-1]:
            rate = (span.last.samples - first.samples) / (span.last.at_s - first.at_s)
            points.append((over_time.since_start(first.at_s), rate))
            first = span.last
    if points and first is not None:
        points.append((over_time.since_start(first.at_s), points[-1][1]))
    events = [
        charts.Event(over_time.since_start(change.at_s), f"{change.knob}={change.value}: {change.reason}")
        for change in watched.changes
    ]
    samples = charts.line_chart(
        "samples a second", [charts.Series("read", points, is_stepped=True)], y=charts.SAMPLES_PER_S, events=events
    )
    requests = charts.Series("in flight", over_time.points(over_time.rates("fetch_s")))
    allowed = charts.Series(
        "allowed", over_time.settings(lambda moment: float(moment.settings.concurrency)), is_stepped=True
    )
    flights = charts.line_chart("requests", [requests, allowed], y=charts.count_of("requests"))
    sentence = 'The loader with every knob at "auto"; the numbers mark what it changed.'
    return Section("Over time", sentence, [samples, flights])


def _neighbours(findings: Findings) -> Section:
    lanes = [lane for lane in findings.lanes if lane.rates]
    bars, rows = [], []
    for lane in lanes:
        found = against(lane, lanes[0])
        note = "" if found is None or lane is lanes[0] else f"{found.ratio:.2f} times"
        name = lane.contender.name
        bars.append(charts.Bar(name, lane.per_s, min(lane.rates), max(lane.rates), note))
        interval = "" if found is None else f"{found.low:.2f} to {found.high:.2f}"
        rows.append((name, f"{lane.per_s:,.0f}", "" if found is None else f"{found.ratio:.2f}", interval))
    chart = charts.bar_chart("samples a second, median and range of the rounds", bars, x=charts.SAMPLES_PER_S)
    columns = ("settings", "samples/s", "times the first", "surely within")
    sentence = "Each neighbour and the first took turns; rates of one round are compared with each other."
    return Section("Against its neighbours", sentence, [chart, table(columns, rows, numeric=(1, 2, 3))])


def _latencies(findings: Findings, watched: Watched) -> Section:
    fetch = watched.stats.fetch
    marks = [charts.Event(fetch.p50_s, "half of them took less", "p50"), charts.Event(fetch.p99_s, "99 %", "p99")]
    if findings.requests is not None:
        alone_s = findings.requests.quantile_s(0.5)
        marks.append(charts.Event(alone_s, f"a request alone: {human_time(alone_s)}", "alone"))
    chart = charts.histogram_chart("requests", fetch.bins, y=charts.count_of("requests"), events=marks)
    sentence = "How long requests took while loading; beside a request alone it says what many at a time cost."
    return Section("Latency", sentence, [chart])
