"""What was found, as text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aioloader.cli.tuning.contenders import against
from aioloader.tune.keras_numbers import in_words
from aioloader.units import human_bytes, human_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.cli.tuning.findings import Findings

_NAME, _FIGURE = 22, 11
_CALM = 1.5
"""Times the work of one thread that two do without the GIL; two cores to themselves make it 2."""


def in_text(findings: Findings) -> str:
    """All of it, with the code to paste."""
    return "\n".join(_lines(findings))


def opening(findings: Findings) -> str:
    """What is measured."""
    listed, made = findings.listed, findings.decode
    some = "" if len(listed.data) == listed.total else f"{len(listed.data):,} of "
    consumer = f", a model that takes {human_time(findings.step_time_s)} for them" if findings.step_time_s else ""
    cores = f"{findings.cores} core{'s' if findings.cores > 1 else ''}"
    batches = f"decode {made}, {findings.batch_size} a batch{consumer}, {cores}"
    return f"{some}{listed.total:,} samples at {listed.name}\n{batches}"


def _lines(findings: Findings) -> Iterator[str]:
    yield from _measured(findings)
    yield from _unrest(findings)
    if (law := littles_law(findings)) != "":
        yield f"\nLittle's law: {law}"
    if findings.watched is not None:
        yield f"verdict: {findings.watched.verdict.sentence}"
    yield from _changes(findings)
    yield from _compared(findings)
    yield from _recommended(findings)
    if findings.failure:
        yield f"\nIt ended early, and this is what was known by then: {findings.failure}"


def _row(name: str, *figures: str, note: str = "") -> str:
    return f"{name:{_NAME}}{''.join(f'{figure:>{_FIGURE}}' for figure in figures)}  {note}".rstrip()


def _measured(findings: Findings) -> Iterator[str]:
    requests, decodes, watched = findings.requests, findings.decodes, findings.watched
    if requests is not None:
        yield _row("", "p50", "p95", "p99")
        times = [human_time(requests.quantile_s(share)) for share in (0.5, 0.95, 0.99)]
        failed = f", {requests.failed} failed" if requests.failed else ""
        note = f"{len(requests.seconds)} one after another{failed}; with connecting {human_time(requests.first_s)}"
        yield _row("a request alone", *times, note=note)
    if watched is not None:
        fetch = watched.stats.fetch
        yield _row("while loading", human_time(fetch.p50_s), "", human_time(fetch.p99_s), note=f"{fetch.count:,}")
    if requests is not None:
        figures = requests.as_dict()
        largest = f"{human_bytes(figures['largest_bytes'])} the largest of {len(requests.body_bytes)}"
        yield _row("bytes of a sample", human_bytes(figures["mean_bytes"]), note=largest)
    if decodes is not None:
        yield _row("decoding, one thread", human_time(decodes.sample_s), note=_scaling(findings))
        most = f"; the loader takes {human_bytes(watched.memory_bytes)} at most" if watched is not None else ""
        yield _row("memory of a batch", human_bytes(decodes.batch_bytes), note=most.removeprefix("; "))
    if watched is not None:
        rate = f"{watched.samples_per_s:,.0f}/s"
        skipped = f", {watched.stats.skipped:,} skipped because they failed" if watched.stats.skipped else ""
        waits = f'every knob "auto", {watched.stats.elapsed_s:.0f} s{skipped}'
        yield _row("samples", rate, note=waits)


def _scaling(findings: Findings) -> str:
    decodes = findings.decodes
    if decodes is None or decodes.scaling is None:
        return ""
    text = f"two do {decodes.scaling:.2f} times one's work; without the GIL {decodes.scaling_without_gil:.2f}"
    share = decodes.gil_share
    return text if share is None else f"{text}: it holds the GIL {share:.0%} of its time"


def _unrest(findings: Findings) -> Iterator[str]:
    decodes = findings.decodes
    if decodes is not None and decodes.scaling_without_gil is not None and decodes.scaling_without_gil < _CALM:
        yield (
            f"\nThis machine is busy with other programs: two threads that need no GIL did "
            f"{decodes.scaling_without_gil:.2f} times the work of one. Figures are rough; run it again when it is idle."
        )


def littles_law(findings: Findings) -> str:
    """What the wanted rate needs in flight and in cores; "" where it is not known."""
    per_s, requests, decodes = findings.wanted_per_s, findings.requests, findings.decodes
    if not per_s or requests is None or decodes is None:
        return ""
    p50_s = requests.quantile_s(0.5)
    in_flight = f"{math.ceil(per_s * p50_s):,} request{'s' if per_s * p50_s > 1 else ''} in flight"
    cores = f"{per_s * decodes.sample_s:.1f} cores of {findings.cores}"
    if findings.step_time_s:
        model = f"your model at {human_time(findings.step_time_s)} a batch of {findings.batch_size}"
        return (
            f"{model} takes {per_s:,.0f} samples/s; at p50 {human_time(p50_s)} that needs {in_flight}; "
            f"decode {human_time(decodes.sample_s)} needs {cores}"
        )
    return (
        f"{per_s:,.0f} samples/s are read as fast as they come; at p50 {human_time(p50_s)} that is {in_flight}; "
        f"decode {human_time(decodes.sample_s)} takes {cores}"
    )


def _changes(findings: Findings) -> Iterator[str]:
    watched = findings.watched
    if watched is None or not watched.changes:
        return
    begun_s = watched.timeline.moments[0].at_s
    yield '\nwhat "auto" did'
    for change in watched.changes:
        yield f"  {max(change.at_s - begun_s, 0.0):4.1f} s  {change.knob}={change.value}: {change.reason}"


def _compared(findings: Findings) -> Iterator[str]:
    lanes = [lane for lane in findings.lanes if lane.rates]
    if not lanes or not findings.lanes[0].rates:
        return
    width = max(len(lane.contender.name) for lane in lanes)
    yield f"\nagainst its neighbours, in turns, {min(len(lane.rates) for lane in lanes)} rounds"
    yield f"  {lanes[0].contender.name:{width}}  {lanes[0].per_s:8,.0f} samples/s"
    for lane in lanes[1:]:
        found = against(lane, lanes[0])
        times = "too few rounds" if found is None else f"{found.ratio:.2f} times ({found.low:.2f} to {found.high:.2f})"
        yield f"  {lane.contender.name:{width}}  {lane.per_s:8,.0f} samples/s, {times}"
    for lane in findings.lanes:
        if lane.failure:
            yield f"  {lane.contender.name} cannot run: {lane.failure}"


def _recommended(findings: Findings) -> Iterator[str]:
    found, watched = findings.recommendation, findings.watched
    if found is None or watched is None:
        yield "\nToo little was measured to recommend anything."
        return
    yield f"\nrecommended, {found.samples_per_s:,.0f} samples/s: {found.reason}\n"
    yield findings.code
    auto = watched.ran_with
    if found.settings == auto:
        yield '\nLeave the last four out ("auto"), and the loader finds the same by itself.'
    else:
        kind = "processes" if auto.use_multiprocessing else "threads"
        yield (
            f'\nLeft out ("auto"), the last four come to concurrency={auto.concurrency}, {auto.workers} {kind}, '
            f"max_queue_size={auto.max_queue_size} in a run as long as this one."
        )
    if findings.keras:
        yield f"Keras' numbers for the same: {in_words(findings.keras, findings.batch_size)}"
