"""``aioloader bench``: which way to load is fastest here, with these data, and what it costs."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from aioloader.cli.files import check_file, write_files
from aioloader.cli.terminated import terminated_by_exception
from aioloader.cli.units import duration_s
from aioloader.errors import AioloaderError, OptionError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from aioloader.cli.bench.modes.catalogue import Mode
    from aioloader.cli.bench.places import Place
    from aioloader.cli.bench.race import Plan
    from aioloader.cli.bench.results import Results

_DEMO_LATENCIES = "0,10,50,200ms"
_SECONDS, _DEMO_SECONDS = 4.0, 0.5
_DEMO_WITHIN_S = 165.0
_BATCH_SIZE = 16
"""Small: the modes that fetch a batch's samples one after another would take minutes for a few batches of 64."""


def latencies_s(text: str) -> list[float]:
    """``0,10,50,200ms``: a number without a unit has that of the last."""
    parts = [part.strip() for part in text.split(",")]
    unit = parts[-1].lstrip("0123456789.")
    return [duration_s(part if part.lstrip("0123456789.") else part + unit) for part in parts]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add ``bench`` to ``commands``."""
    parser = commands.add_parser(
        "bench",
        help="compare ways to load your own data: loops, threads, asyncio, Keras, tf.data, torch, aioloader",
        description="Load the same samples by every way that is installed, each in an interpreter of its own, in "
        "interleaved rounds, and say what is fastest. Without URL: generated pictures behind a local server of several "
        "latencies, in less than 3 minutes on 2 cores.",
        parents=[shared],
    )
    add = parser.add_argument
    add("url", nargs="?", metavar="URL", help="a folder of images: http(s)://, s3://, gs://, az://, or a path")
    add("--manifest", action="store_true", help="URL is a CSV, JSON lines or Parquet file that lists the samples")
    add("--decode", default="image:224x224", metavar="HOW",
        help="image:HxW (Pillow), fast:HxW, raw (bytes), none (only fetched), or module:function "
        "(default: image:224x224)")  # fmt: skip
    add("--modes", metavar="A,B", help="only these; --modes list prints them (default: all that are installed)")
    add("--batch-size", type=int, default=_BATCH_SIZE, metavar="N", help=f"samples a batch (default: {_BATCH_SIZE})")
    add("--samples", type=int, metavar="N", help="read at most the first N samples in a run (default: 20,000)")
    add("--seconds", type=float, metavar="S",
        help=f"a run's time, once it is under way (default: {_SECONDS:g}; without URL {_DEMO_SECONDS:g})")  # fmt: skip
    add("--rounds", type=int, default=3, metavar="R", help="how often each mode runs (default: 3)")
    add("--timeout", type=duration_s, default=60.0, metavar="TIME", help="end a run that takes longer (default: 60s)")
    add("--latency", type=latencies_s, metavar="TIMES",
        help=f"of the local server, without URL (default: {_DEMO_LATENCIES})")  # fmt: skip
    add("--within", type=duration_s, metavar="TIME",
        help="after the first round begin nothing that would end later (default: none; without URL 165s)")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write everything there, single runs too")
    add("--html", type=Path, metavar="FILE", help="write a page with charts there")
    add("--no-sweep", action="store_true", help="leave out the sweep of aioloader's knobs that the files show")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and print; 0, or 1 where no mode gave a valid run."""
    from aioloader.cli.bench.modes.catalogue import CATALOGUE, chosen

    if options.modes == "list":
        for mode in CATALOGUE.values():
            print(f"{mode.name:22}{mode.title}{'  (' + mode.missing + ')' if mode.missing else ''}")
        return 0
    options.began_at = monotonic()
    modes = chosen(options.modes)
    _check(options)
    with terminated_by_exception(), ExitStack() as stack:
        return _bench(options, modes, stack)


def _check(options: argparse.Namespace) -> None:
    for name in ("batch_size", "samples", "rounds"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise OptionError(name.replace("_", "-"), repr(value), "1 or more")
    for name in ("seconds", "timeout", "within"):
        if (value := getattr(options, name)) is not None and not 0 < value < 86_400:
            raise OptionError(name, repr(value), "some seconds")
    if options.url and options.latency is not None:
        raise OptionError("latency", "given", "no URL beside it: it is the local server's")
    if options.manifest and not options.url:
        raise OptionError("manifest", "True", "the URL of the manifest")
    for name in ("json", "html"):
        if (path := getattr(options, name)) is not None:
            check_file(name, path)


def _bench(options: argparse.Namespace, modes: Sequence[Mode], stack: ExitStack) -> int:
    from aioloader.cli.bench.neighbours import Neighbours
    from aioloader.cli.bench.places import demo_places, own_place, typical
    from aioloader.cli.bench.race import Plan
    from aioloader.cli.bench.results import Results

    results = Results(
        modes={mode.name: mode.title for mode in modes},
        missing={mode.name: mode.missing for mode in modes if mode.missing},
        places=[],
    )
    if options.url:
        places = [own_place(options.url, options.samples, is_manifest=options.manifest)]
    else:
        latencies = options.latency if options.latency is not None else latencies_s(_DEMO_LATENCIES)
        places = demo_places(latencies, options.samples, stack)
    results.places = [place.name for place in places]
    plan = Plan(
        decode=options.decode,
        batch_size=options.batch_size,
        seconds=options.seconds or (_SECONDS if options.url else _DEMO_SECONDS),
        rounds=options.rounds,
        timeout_s=options.timeout,
    )
    sample = _first_sample(plan, places[0])
    where = places[0].name if options.url else "a local server"
    print(f"{len(places[0].data):,} samples at {where}, {sample}", flush=True)
    shown_place, neighbours = typical(places), Neighbours()
    try:
        _measure(options, plan, modes, places, shown_place, results)
    except KeyboardInterrupt:
        results.is_interrupted = True
    results.others_share = neighbours.share()
    _show(options, plan, places, shown_place, results, sample)
    if results.is_interrupted:
        raise KeyboardInterrupt
    return 0 if any(cell.figures for place in places for cell in results.cells(place.name)) else 1


def _first_sample(plan: Plan, place: Place) -> str:
    """What a sample is; an error of the decoder comes here, and once."""
    from aioloader.cli.bench.child import CHECK
    from aioloader.cli.bench.interpreter import Interpreter, RunFailedError

    with Interpreter() as child:
        try:
            answer = child.ask(plan.task(CHECK, place), plan.timeout_s)
        except RunFailedError as exc:
            raise AioloaderError(f"the first sample cannot be loaded: {exc}") from exc
    return f"decoded to {answer['sample']}"


def _measure(
    options: argparse.Namespace,
    plan: Plan,
    modes: Sequence[Mode],
    places: Sequence[Place],
    shown_place: Place,
    results: Results,
) -> None:
    from aioloader.cli.bench.progress import progress
    from aioloader.cli.bench.race import SWEEP, WATCH, Race, sweep_settings
    from aioloader.cli.bench.time_left import TimeLeft

    is_swept = (options.json or options.html) and not options.no_sweep and any(mode.is_ours for mode in modes)
    installed = [mode for mode in modes if not mode.missing]
    steps = {mode.name: plan.rounds * len(places) for mode in installed}
    if is_swept:
        steps[SWEEP] = len(sweep_settings())
    is_watched = any(mode.name == "aioloader" for mode in installed)
    if is_watched:
        steps[WATCH] = 1
    within_s = options.within or (None if options.url else _DEMO_WITHIN_S)
    left = TimeLeft(steps, plan.seconds * 1.3 + 0.4, None if within_s is None else options.began_at + within_s)
    with progress(left) as show:
        race = Race(plan=plan, modes=installed, places=places, results=results, left=left, show=show)
        race.run(shown_place if is_watched else None, shown_place if is_swept else None)


def _show(
    options: argparse.Namespace,
    plan: Plan,
    places: Sequence[Place],
    shown_place: Place,
    results: Results,
    sample: str,
) -> None:
    from aioloader.cli.bench.closing import closing
    from aioloader.cli.bench.facts import machine
    from aioloader.cli.bench.table import print_tables
    from aioloader.cli.decode_option import code_of

    print()
    print_tables(results)
    words = closing(results, shown_place.name, decode_code=code_of(plan.decode), batch_size=plan.batch_size)
    seen = results.watched.get("sentence", "")
    print(
        "\n" + "\n".join(line for line in (seen and f"aioloader, {results.watched['settings']}: {seen}", words) if line)
    )
    if results.is_interrupted:
        print("interrupted: this is what was known by then")
    about: dict[str, Any] = machine() | {
        "samples": f"{len(places[0].data):,}, {sample}",
        "runs": f"{plan.rounds} rounds of {plan.seconds:g} s, batches of {plan.batch_size}",
    }
    texts = {}
    if options.json:
        whole = {"schema": 1, "about": about, "closing": words, **results.as_dict()}
        texts[options.json] = json.dumps(whole, indent=1) + "\n"
    if options.html:
        from aioloader.cli.bench.page import bench_page

        texts[options.html] = bench_page(results, places, shown_place, words, list(about.items()))
    write_files(texts)
