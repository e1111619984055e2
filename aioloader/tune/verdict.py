"""The verdict in words: the limit with its figures, Little's law worked out, the knob, and what it should give."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aioloader.monitor.timeline import Span
from aioloader.monitor.verdict import Verdict
from aioloader.tune.keras_numbers import keras_numbers
from aioloader.tune.limit import limit_of
from aioloader.units import human_bytes, human_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.monitor.timeline import Moment, Timeline
    from aioloader.monitor.verdict import Limit
    from aioloader.tune.limit import Facts
    from aioloader.tune.load import Load

STEADY_S: Final = 20.0
"""What is judged: the latest seconds of open streams since the first batch and the last change of the workers."""
_LEAST_S: Final = 0.5
_MOST_REQUESTS: Final = 1024
_UNKNOWN_PER_S: Final = 1e9
_MUCH: Final = 0.3
"""Cores."""

_Words = tuple[str, str, float]
"""Sentence, knob, gain."""


def steady_span(timeline: Timeline) -> Span | None:
    """The latest part of a run that was of one kind; None before there is half a second of it."""
    moments = [moment for moment in timeline.moments if moment.batches]
    while len(moments) > 1 and _is_left(moments[-2], moments[-1]):
        moments.pop()
    while len(moments) > 1:
        span = _of_one_kind(moments)
        if span.seconds >= _LEAST_S:
            return span
        moments = [moment for moment in moments if moment.at_s < span.first.at_s]  # just changed: what was before
    return None


def _of_one_kind(moments: list[Moment]) -> Span:
    """The latest `STEADY_S` of them in which the workers were the same."""
    last = first = moments[-1]
    for moment in reversed(moments):
        same = moment.settings.use_multiprocessing == last.settings.use_multiprocessing
        same = same and moment.settings.workers == last.settings.workers
        if not same or last.active_s - moment.active_s > STEADY_S:
            break
        first = moment
    return Span(first, last)


def _is_left(first: Moment, last: Moment) -> bool:
    """Whether the consumer took nothing between the two and did not wait: it has gone, and says nothing any more."""
    return first.batches == last.batches and first.data_wait_s == last.data_wait_s


def startup(first_batch_s: float, batches: int, samples_per_s: float) -> Verdict:
    """The verdict of a run of which nothing but its beginning is known."""
    figures = {"first_batch_s": first_batch_s, "samples_per_s": samples_per_s}
    if not batches:
        return Verdict(limit="startup", sentence="startup: no batch was read yet", figures=figures)
    sentence = (
        f"startup: the first batch came after {human_time(first_batch_s)}, and {batches} batches are too few to tell "
        "what limits the rest; read on for some seconds"
    )
    return Verdict(limit="startup", sentence=sentence, figures=figures)


def judge(facts: Facts) -> Verdict:
    """The one limit of a span in which batches were read."""
    load, span = facts.load, facts.load.span
    limit = limit_of(facts)
    words, knob, gain = _IN_WORDS[limit](facts)
    figures = {
        "samples_per_s": span.samples_per_s,
        "data_wait_share": span.data_wait_share,
        "consumer_per_s": _consumer_per_s(load),
        "in_flight": span.in_flight,
        "concurrency": float(load.settings.concurrency),
        "fetch_mean_s": span.fetch_mean_s,
        "bytes_per_s": span.per_s("bytes_fetched"),
        "refused_share": facts.refused_share,
        "decode_mean_s": span.decode_mean_s,
        "busy_lanes": span.busy_lanes,
        "workers": float(load.settings.workers),
        "lane_cores": load.lane_cores,
        "used_cores": load.used_cores,
        "idle_cores": load.idle_cores,
        "loop_share": load.loop,
        "occupancy": span.occupancy,
    }
    holds_gil = limit == "GIL" or load.settings.use_multiprocessing
    keras = keras_numbers(span.samples_per_s, span.fetch_mean_s, span.decode_mean_s, holds_gil=holds_gil)
    return Verdict(limit=limit, sentence=f"{limit}: {words}", knob=knob, gain=gain, figures=figures, keras=keras)


def _consumer_per_s(load: Load) -> float:
    """What the consumer would take if it never waited."""
    return load.span.samples_per_s / load.consumer if load.consumer > 0.001 else _UNKNOWN_PER_S


def _decoders_per_s(load: Load, workers: int) -> float:
    decode_s = load.span.decode_mean_s
    return workers / decode_s if decode_s else _UNKNOWN_PER_S


def _loop_per_s(load: Load) -> float:
    return load.span.per_s("fetched") / load.loop if load.loop > 0.001 else _UNKNOWN_PER_S


def _gain(load: Load, *others_per_s: float) -> float:
    """By how much the rate rises until one of ``others_per_s`` or the consumer is the limit; at least 1."""
    now = load.span.samples_per_s
    return max(min((_consumer_per_s(load), *others_per_s)) / now, 1.0) if now else 1.0


def _waits(load: Load) -> str:
    return f"the consumer waits {load.span.data_wait_share:.0%} of its time"


def _others(load: Load) -> str:
    """Who else takes cores, where that is much."""
    others = min(load.cores, load.granted) - load.used_cores - load.idle_cores
    is_known = load.span.last.idle_s > 0
    return f", {others:.1f} used by other processes" if is_known and others > _MUCH else ""


def _consumer(facts: Facts) -> _Words:
    load = facts.load
    if not load.span.samples_per_s:
        return "finished batches wait and the consumer took none of them, no knob of the loader helps", "", 1.0
    per_batch_s = facts.batch_size / _consumer_per_s(load)
    text = (
        f"the consumer takes {human_time(per_batch_s)} a batch ({load.span.samples_per_s:,.0f} samples/s) and waits "
        f"{load.span.data_wait_share:.0%} of its time: data comes as fast as it is used, no knob of the loader helps"
    )
    return text, "", 1.0


def _network_latency(facts: Facts) -> _Words:
    load, span = facts.load, facts.load.span
    workers = load.settings.workers if "workers" in facts.fixed else max(load.settings.workers, load.cores)
    others = _decoders_per_s(load, workers), _loop_per_s(load)
    wanted_per_s = min(_consumer_per_s(load), *others)
    bound = load.settings.concurrency
    needed = min(math.ceil(wanted_per_s * span.fetch_mean_s), max(_MOST_REQUESTS, 2 * bound))
    if needed <= bound:
        needed = 2 * bound
    text = (
        f"{_waits(load)}; a request takes {human_time(span.fetch_mean_s)}, so {wanted_per_s:,.0f} samples/s need "
        f"{math.ceil(wanted_per_s * span.fetch_mean_s):,} in flight; {bound} are allowed, "
        f"and give {span.samples_per_s:,.0f}"
    )
    if bound >= _MOST_REQUESTS and "concurrency" not in facts.fixed:
        text += ': the most that "auto" tries'
        return f"{text} -> larger objects, a nearer bucket, or concurrency={needed}", "", 1.0
    return f"{text} -> concurrency={needed}", f"concurrency={needed}", min(_gain(load, *others), needed / bound)


def _network_bandwidth(facts: Facts) -> _Words:
    load, span = facts.load, facts.load.span
    text = (
        f"{_waits(load)}; the store gives {human_bytes(span.per_s('bytes_fetched'))}/s in {span.per_s('fetched'):,.0f} "
        f"requests/s with {load.settings.concurrency} in flight, and a request takes {human_time(span.fetch_mean_s)} "
        f"(the quickest {human_time(facts.quick_fetch_s)}): more in flight only wait in line -> smaller objects, a "
        'nearer bucket, or cache="directory"'
    )
    return text, 'cache="directory"', _gain(load, _loop_per_s(load))


def _throttling(facts: Facts) -> _Words:
    load, span = facts.load, facts.load.span
    text = (
        f"{_waits(load)}; the store refuses {facts.refused_share:.1%} of the requests (429, 503) above "
        f"{span.per_s('answered'):,.0f} a second, and sending keeps to that pace -> spread keys over more prefixes, "
        'ask for a higher limit, or cache="directory"'
    )
    return text, 'cache="directory"', _gain(load, _decoders_per_s(load, load.settings.workers), _loop_per_s(load))


def _disk(facts: Facts) -> _Words:
    load, span = facts.load, facts.load.span
    text = (
        f"{_waits(load)}; a file takes {human_time(span.fetch_mean_s)} to read, "
        f"{human_bytes(span.per_s('bytes_fetched'))}/s with {span.in_flight:.0f} read at once"
    )
    if load.settings.concurrency < _MOST_REQUESTS and load.wire_is_busy:
        knob = f"concurrency={2 * load.settings.concurrency}"
        return f"{text} -> {knob}, or a faster disk", knob, 1.0
    return f"{text} -> a faster disk, or fewer and larger files", "", 1.0


def _cache_disk(facts: Facts) -> _Words:
    text, knob, gain = _disk(facts)
    return f"{facts.cached_share:.0%} of the samples come from the cache; {text}", knob, gain


def _fetch_cpu(facts: Facts) -> _Words:
    load = facts.load
    loops = load.settings.workers if load.settings.use_multiprocessing else 1
    whose = "the event loop is" if loops == 1 else f"the {loops} event loops are"
    text = f"{_waits(load)}; {whose} busy {load.loop:.0%} of the time with {load.span.per_s('fetched'):,.0f} requests/s"
    if not load.settings.use_multiprocessing and load.has_spare_cores and not facts.refused:
        workers = max(load.cores, 2)
        gain = _gain(load, workers * _loop_per_s(load))
        knob = "use_multiprocessing=True"
        return f"{text} -> {knob}: {workers} loops", knob, min(gain, float(workers))
    if load.settings.use_multiprocessing and load.settings.workers < load.cores and load.has_spare_cores:
        knob = f"workers={load.cores}"
        gain = min(_gain(load), load.cores / load.settings.workers)
        return f"{text}, {load.idle_cores:.1f} cores are idle -> {knob}", knob, gain
    text += f", {load.idle_cores:.1f} cores are idle"
    return f"{text} -> larger objects (fewer requests), or more cores", "", 1.0


def _decode_cpu(facts: Facts) -> _Words:
    load, span = facts.load, facts.load.span
    workers, cores = load.settings.workers, load.cores
    kind = "processes" if load.settings.use_multiprocessing else "threads"
    text = (
        f"{_waits(load)}; a sample takes {human_time(span.decode_mean_s)} to decode, and all {workers} {kind} are busy "
        f"({load.lane_cores:.1f} cores, {load.idle_cores:.1f} idle{_others(load)})"
    )
    if load.lanes_sleep:
        return f"{text}: they wait rather than compute -> workers={2 * workers}", f"workers={2 * workers}", 2.0
    if workers < cores and load.has_spare_cores:
        gain = min(_gain(load, _loop_per_s(load)), cores / workers)
        return f"{text} -> workers={cores}", f"workers={cores}", gain
    return f'{text} -> a cheaper decoder (al.ImageDecoder(backend="fast")), smaller sources, or more cores', "", 1.0


def _gil(facts: Facts) -> _Words:
    load = facts.load
    workers = load.settings.workers
    text = f"{_waits(load)}; {workers} threads scale {load.lane_cores:.2f}x, your decoder holds the GIL"
    if facts.refused:
        return f"{text}, and processes cannot be had: {facts.refused}", "", 1.0
    gain = min(_gain(load), load.cores / max(load.lane_cores, 0.5))
    knob = f"use_multiprocessing=True, workers={load.cores}"
    return f"{text} -> {knob}", knob, gain


def _memory_budget(facts: Facts) -> _Words:
    load = facts.load
    text = (
        f"{_waits(load)}; fetching waits {load.span.beat_share('blocked_beats'):.0%} of the time for the byte budget "
        f"with {load.span.in_flight:.0f} of {load.settings.concurrency} requests in flight"
    )
    gain = min(_gain(load, _loop_per_s(load)), 2.0)
    return f"{text} -> a larger max_memory, or smaller objects", "max_memory", gain


def _startup(facts: Facts) -> _Words:
    return f"the first batch came after {human_time(facts.first_batch_s)}", "", 1.0


_IN_WORDS: Final[dict[Limit, Callable[[Facts], _Words]]] = {
    "startup": _startup,
    "consumer": _consumer,
    "network latency": _network_latency,
    "network bandwidth": _network_bandwidth,
    "throttling": _throttling,
    "disk": _disk,
    "cache disk": _cache_disk,
    "fetch CPU": _fetch_cpu,
    "decode CPU": _decode_cpu,
    "GIL": _gil,
    "memory budget": _memory_budget,
}
