"""The page on a training run: where each second went, and what the knobs were and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.units import human_bytes, human_time
from aioloader.view.areas import area_chart
from aioloader.view.bins import histogram_chart
from aioloader.view.lines import line_chart
from aioloader.view.over_time import OverTime
from aioloader.view.page import Section, folded, page, table
from aioloader.view.quantity import BYTES_PER_S, SAMPLES_PER_S, SHARE, TIME, Quantity, Unit, count_of
from aioloader.view.series import Event, Layer, Series
from aioloader.view.waiting import busiest, where_seconds_went

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.stats import LoaderStats, StageStats
    from aioloader.monitor.timeline import Span, Timeline
    from aioloader.monitor.verdict import Verdict
    from aioloader.view.markup import Markup

_SHOWN_CHANGES = 12
_CORES = Quantity("", (Unit("cores"),))
_PER_S = Quantity("", (Unit("per s"),))


def training_page(
    stats: LoaderStats,
    timeline: Timeline,
    verdict: Verdict,
    changes: Sequence[KnobChange],
    knobs: Mapping[str, str],
    source: str,
    *,
    keras: str = "",
    cause: Callable[[Span], str] = busiest,
) -> str:
    """The page's HTML.

    ``knobs`` are the values by name, as they are shown; ``source`` is where the data came from. ``keras`` are the
    numbers that would do the same there, in words; without it the verdict's are listed. ``cause`` names what the
    consumer waited for in a span of the run.
    """
    over_time = OverTime(timeline)
    sections = [
        _seconds(over_time, cause),
        _throughput(over_time),
        _queue(over_time),
        _requests(over_time, changes),
        _decoding(over_time, changes),
        _latencies(stats.fetch, stats.decode),
        _slowest(stats),
        _errors(stats, over_time),
        _knobs(over_time, changes, knobs),
        _keras(verdict, keras),
    ]
    return page(
        f"aioloader: {source}",
        verdict.sentence,
        sections,
        facts=_facts(stats, verdict),
        footer="Made by aioloader. Nothing on this page is loaded from elsewhere.",
    )


def _facts(stats: LoaderStats, verdict: Verdict) -> list[tuple[str, str]]:
    facts = [
        ("samples a second", f"{stats.samples_per_s:,.0f}"),
        ("time spent waiting for data", f"{stats.data_wait_share:.0%}"),
        ("samples", f"{stats.samples:,} in {stats.batches:,} batches"),
        ("fetched", human_bytes(stats.bytes_fetched)),
        ("first batch after", human_time(stats.first_batch_s)),
        ("limit", verdict.limit),
    ]
    if verdict.knob:
        gain = f", {verdict.gain:.1f} times as fast" if verdict.gain >= 1.05 else ""
        facts.append(("what to set", f"{verdict.knob}{gain}"))
    return facts


def _seconds(over_time: OverTime, cause: Callable[[Span], str]) -> Section:
    chart = area_chart("Share of each second", over_time.edges, where_seconds_went(over_time, cause), y=SHARE, top=1.0)
    return Section(
        "Where each second went",
        "What is not the consumer's own work is time in which it waited: for the station that was busiest then.",
        [chart],
    )


def _throughput(over_time: OverTime) -> Section:
    samples = Series("received", over_time.points(over_time.rates("samples")), is_stepped=True)
    fetched = Series("fetched", over_time.points(over_time.rates("bytes_fetched")), is_stepped=True)
    return Section(
        "Throughput",
        "Samples that the consumer received, and bytes that came from the store.",
        [
            line_chart("Samples a second", [samples], y=SAMPLES_PER_S),
            line_chart("Bytes a second", [fetched], y=BYTES_PER_S),
        ],
    )


def _queue(over_time: OverTime) -> Section:
    waiting = over_time.points(over_time.rates("queued_s"))
    bound = over_time.settings(lambda moment: float(moment.settings.max_queue_size))
    occupied = over_time.points([min(share, 1.0) for share in over_time.rates("queue_s")])
    return Section(
        "Batch queue",
        "A queue that is never empty means that the consumer is the slower side. Batches count while all before them "
        "are finished too.",
        [
            line_chart(
                "Finished batches that wait",
                [Series("waiting", waiting, is_stepped=True), Series("max_queue_size", bound, is_stepped=True)],
                y=count_of("batches"),
            ),
            line_chart(
                "Share of the time with a batch in the queue",
                [Series("occupied", occupied, is_stepped=True)],
                y=SHARE,
                top=1.0,
            ),
        ],
    )


def _requests(over_time: OverTime, changes: Sequence[KnobChange]) -> Section:
    flying = over_time.held("fetch_s", lambda span: span.last.settings.concurrency)
    bound = over_time.settings(lambda moment: float(moment.settings.concurrency))
    return Section(
        "Requests in flight",
        "On average in flight, and how many were allowed; where both meet, more might be fetched at once.",
        [
            line_chart(
                "Requests in flight",
                [
                    Series("in flight", over_time.points(flying), is_stepped=True),
                    Series("concurrency", bound, is_stepped=True),
                ],
                y=count_of("requests"),
                events=_events(over_time, changes, "concurrency"),
            )
        ],
    )


def _decoding(over_time: OverTime, changes: Sequence[KnobChange]) -> Section:
    busy = over_time.held("decode_s", lambda span: span.last.settings.workers)
    lanes = over_time.settings(lambda moment: float(moment.settings.workers))
    own, loop, decode = (over_time.rates(name) for name in ("process_cpu_s", "loop_cpu_s", "decode_cpu_s"))
    child_loop, child_decode = (over_time.rates(name) for name in ("child_loop_cpu_s", "child_decode_cpu_s"))
    layers = [
        Layer("decoding", [a + b for a, b in zip(decode, child_decode, strict=True)]),
        Layer("fetching", [a + b for a, b in zip(loop, child_loop, strict=True)]),
        Layer("all else in this process", [max(a - b - c, 0.0) for a, b, c in zip(own, loop, decode, strict=True)]),
        Layer("idle", over_time.rates("idle_s"), is_quiet=True),
    ]
    layers = [layer for layer in layers if any(layer.values)]
    return Section(
        "Decoding and CPU",
        "Decoders at work against how many there are; and what the cores did. All else is the model, where it runs on "
        "the CPU.",
        [
            line_chart(
                "Decoders at work",
                [
                    Series("busy", over_time.points(busy), is_stepped=True),
                    Series("workers", lanes, is_stepped=True),
                ],
                y=count_of("decoders"),
                events=_events(over_time, changes, "workers", "use_multiprocessing"),
            ),
            area_chart("What the cores did", over_time.edges, layers, y=_CORES),
        ],
    )


def _latencies(fetch: StageStats, decode: StageStats) -> Section:
    return Section(
        "How long a sample took",
        f"To fetch: half within {human_time(fetch.p50_s)}, 99% within {human_time(fetch.p99_s)}. "
        f"To decode: half within {human_time(decode.p50_s)}, 99% within {human_time(decode.p99_s)}.",
        [_histogram("Fetch", fetch), _histogram("Decode", decode)],
    )


def _histogram(title: str, stage: StageStats) -> Markup:
    quantiles = [
        Event(stage.p50_s, f"half took less than {human_time(stage.p50_s)}", "p50"),
        Event(stage.p99_s, f"99% took less than {human_time(stage.p99_s)}", "p99"),
    ]
    return histogram_chart(title, stage.bins, events=quantiles)


def _slowest(stats: LoaderStats) -> Section:
    rows = [[sample.key, human_time(sample.seconds), human_bytes(sample.nbytes)] for sample in stats.slowest]
    if not rows:
        return Section("Slowest keys", "Nothing was fetched.", [])
    parts = [table(["key", "time", "size"], rows, numeric=[1, 2])]
    return Section("Slowest keys", "The samples whose bytes took longest to come.", parts)


def _errors(stats: LoaderStats, over_time: OverTime) -> Section:
    requests = stats.engine.requests
    counts = {
        "samples that failed to be fetched": stats.fetch.failed,
        "samples that failed to be decoded": stats.decode.failed,
        "stand-ins delivered": stats.skipped,
        "requests repeated": requests.retries,
        "refused by 429 or 503": requests.throttled,
        "connections that failed or stood still": requests.troubles,
        "bodies resumed": requests.resumed,
        "late requests made twice": requests.hedged,
        "of these answered first by the second": requests.hedges_won,
        "credentials renewed": requests.refreshed,
        "worker processes that died": stats.engine.deaths,
    }
    rows = [[name, f"{count:,}"] for name, count in counts.items() if count]
    parts = [table(["what", "count"], rows, numeric=[1])] if rows else []
    names = {"failed": "failed samples", "retries": "repeated", "throttled": "refused", "hedged": "made twice"}
    rates = {shown: over_time.rates(name) for name, shown in names.items()}
    lines = [Series(name, over_time.points(values), is_stepped=True) for name, values in rates.items() if any(values)]
    if lines:
        parts.append(line_chart(f"Over time: {', '.join(line.name for line in lines)}", lines, y=_PER_S))
    sentence = "What went wrong, and was repeated or replaced." if parts else "Nothing failed and nothing was repeated."
    return Section("Errors, repetitions, refusals", sentence, parts)


def _knobs(over_time: OverTime, changes: Sequence[KnobChange], knobs: Mapping[str, str]) -> Section:
    parts = [table(["knob", "value"], [[name, value] for name, value in knobs.items()])]
    if changes:
        rows = [
            [TIME.write(over_time.since_start(change.at_s)), f"{change.knob}={change.value}", change.reason]
            for change in changes
        ]
        listed = table(["after", "set", "because"], rows, numeric=[0])
        parts.append(folded(f"All {len(rows)} changes", listed) if len(rows) > _SHOWN_CHANGES else listed)
    sentence = "The values at the end; (auto) ones were set by measurement" + (
        ", each change with its reason." if changes else ", and were not changed."
    )
    return Section("Knobs", sentence, parts)


def _keras(verdict: Verdict, keras: str) -> Section:
    if keras or not verdict.keras:
        return Section("In Keras", keras or "Too little was read to say which numbers of Keras would do the same.", [])
    rows = [[name, str(value)] for name, value in verdict.keras.items()]
    sentence = "The numbers with which a keras.utils.PyDataset that reads sample by sample would do the same."
    return Section("In Keras", sentence, [table(["option", "value"], rows)])


def _events(over_time: OverTime, changes: Sequence[KnobChange], *knobs: str) -> list[Event]:
    """The changes of ``knobs`` as marks on the axis of time."""
    events = []
    for change in changes:
        if change.knob in knobs:
            at = over_time.since_start(change.at_s)
            events.append(Event(at, f"{TIME.write(at)}: {change.knob}={change.value}: {change.reason}"))
    return events
