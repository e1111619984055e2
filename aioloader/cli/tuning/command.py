"""``aioloader tune``: the knobs for a user's own data, measured in about a minute, as code to paste."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.cli.files import check_file, write_files
from aioloader.cli.units import duration_s
from aioloader.errors import AioloaderError, OptionError

if TYPE_CHECKING:
    import argparse

    from aioloader.cli.decode_option import Decoding
    from aioloader.cli.tuning.findings import Findings
    from aioloader.cli.tuning.listing import Listed
    from aioloader.cli.tuning.progress import Progress

_SAMPLES: Final = 2000
_SECONDS: Final = 60.0
_PAGE: Final = "aioloader-tune.html"
_REQUESTS_SHARE, _DECODES_SHARE, _RUN_SHARE = 0.1, 0.06, 1 / 3
"""Of the time; the rest is the comparison's."""
_LOOK_S: Final = 0.5
"""How often the progress is told what limits."""
_ONE_INTERPRETER: Final = 0.7
"""Cores that decoding takes, from which on it may be the GIL that limits, whatever a short run's verdict says."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add ``tune`` to ``commands``."""
    parser = commands.add_parser(
        "tune",
        help="measure your own data for a minute, and get the loader's settings as code",
        description='Measure single requests and decodes, run the loader with every knob at "auto", try what it came '
        "to against its neighbours, and print what was found: the limit, the settings as code to paste, and the "
        "numbers that would do the same in Keras.",
        parents=[shared],
    )
    add = parser.add_argument
    add("url", metavar="URL", help="a folder of images: http(s)://, s3://, gs://, az://, or a path")
    add("--manifest", action="store_true", help="URL is a CSV, JSON lines or Parquet file that lists the samples")
    add("--decode", default="image:224x224", metavar="HOW",
        help="image:HxW (Pillow), fast:HxW, raw (bytes), none (only fetched), or module:function "
        "(default: image:224x224)")  # fmt: skip
    add("--batch-size", type=int, default=64, metavar="N", help="samples a batch (default: 64)")
    add("--step-time", type=duration_s, default=0.0, metavar="TIME",
        help="what your model takes for a batch, such as 80ms (default: it waits for nothing)")  # fmt: skip
    add("--samples", type=int, default=_SAMPLES, metavar="N",
        help=f"measure with at most N samples, spread over all (default: {_SAMPLES:,})")  # fmt: skip
    add("--seconds", type=duration_s, default=_SECONDS, metavar="TIME", help="in all, about (default: 60s)")
    add("--plot", type=Path, default=Path(_PAGE), metavar="FILE", help=f"a page with charts (default: {_PAGE})")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and print; 0. Ctrl-C, or an error once the loader has run, prints what is known by then and goes on."""
    _check(options)
    from aioloader.cli.decode_option import decoding
    from aioloader.cli.tuning.findings import Findings
    from aioloader.cli.tuning.listing import listed
    from aioloader.cli.tuning.pages import tune_page
    from aioloader.cli.tuning.progress import progress
    from aioloader.cli.tuning.words import in_text, opening
    from aioloader.runtime.machine import usable_cores

    begun_s = monotonic()
    decoding(options.decode, 0)  # what cannot be imported is said before a long listing
    place = listed(options.url, options.samples, is_manifest=options.manifest)
    largest_bytes = _largest_bytes(place)
    made = decoding(options.decode, largest_bytes)
    findings = Findings(
        listed=place,
        decode=options.decode,
        batch_size=min(options.batch_size, len(place.data)),
        step_time_s=options.step_time,
        cores=usable_cores(),
        largest_bytes=largest_bytes,
    )
    print(f"{opening(findings)}\n", flush=True)
    # A listing may take longer than all the rest is to take.
    seconds = max(options.seconds - (monotonic() - begun_s), options.seconds / 2)
    ended_by: AioloaderError | None = None
    try:
        with progress(seconds) as show:
            _measure(findings, made, seconds, show)
    except KeyboardInterrupt:
        findings.is_interrupted = True
    except AioloaderError as exc:
        if findings.watched is None:
            raise
        findings.failure, ended_by = str(exc), exc
    print(in_text(findings), flush=True)
    texts = {} if options.json is None else {options.json: json.dumps(findings.as_dict(), indent=1)}
    write_files(texts | {options.plot: tune_page(findings)})
    if findings.is_interrupted:
        raise KeyboardInterrupt
    if ended_by is not None:
        raise ended_by
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in ("batch_size", "samples"):
        if (value := getattr(options, name)) < 1:
            raise OptionError(name.replace("_", "-"), repr(value), "1 or more")
    if not 1 <= options.seconds <= 3600:
        raise OptionError("seconds", f"{options.seconds:g}", "1 second to an hour")
    for name in ("json", "plot"):
        if (path := getattr(options, name)) is not None:
            check_file(name, path)


def _largest_bytes(place: Listed) -> int | None:
    sizes = place.data.sizes
    return None if sizes is None or (sizes < 0).any() else int(sizes.max())


def _measure(findings: Findings, made: Decoding, seconds: float, show: Progress) -> None:
    from aioloader.cli.tuning.contenders import contenders
    from aioloader.cli.tuning.decodes import decode_singly
    from aioloader.cli.tuning.requests import request_singly
    from aioloader.cli.tuning.rounds import run_rounds, turn_for
    from aioloader.cli.tuning.watched import Watched, knobs_of, loader_of, watch
    from aioloader.runtime.machine import available_bytes

    until_s = monotonic() + seconds
    data, batch_size, step_time_s = findings.listed.data, findings.batch_size, findings.step_time_s
    show.now("single requests")
    findings.requests, fetched = request_singly(data, _REQUESTS_SHARE * seconds, show.tick)
    show.now("decoding on one thread and on two")
    findings.decodes = decode_singly(
        made,
        findings.decode,
        fetched,
        batch_size=batch_size,
        cores=findings.cores,
        seconds=_DECODES_SHARE * seconds,
        tick=show.tick,
    )
    del fetched
    show.now('the loader with every knob at "auto"')

    def keep(found: Watched) -> None:
        findings.watched = found

    with loader_of(data, made, batch_size) as loader:
        looked_s = monotonic()

        def look() -> None:
            nonlocal looked_s
            show.tick()
            if monotonic() - looked_s >= _LOOK_S:
                looked_s = monotonic()
                show.limited_by(loader.verdict().limit)

        watch(loader, _RUN_SHARE * seconds, step_time_s, look, keep)
    watched = findings.watched
    if watched is None or watched.span is None:
        return
    candidates = contenders(
        watched.ran_with,
        watched.wished,
        watched.in_flight,
        findings.cores,
        is_cpu_bound=watched.verdict.limit in ("GIL", "decode CPU", "fetch CPU")
        or watched.samples_per_s * findings.decodes.sample_s >= _ONE_INTERPRETER,
    )
    # All loaders stay open, each with its ring of batches and a second one for those that are held.
    ring_bytes = 2 * findings.decodes.batch_bytes * (watched.ran_with.max_queue_size + 2)
    candidates = candidates[: max(available_bytes() // 2 // max(ring_bytes, 1), 1)]
    turn = turn_for(
        until_s - monotonic(),
        len(candidates),
        # Where decoders hold the GIL requests seem to take far longer than they do.
        request_s=min(watched.span.fetch_mean_s, 3 * findings.requests.quantile_s(0.5)),
        batch_s=batch_size / max(watched.samples_per_s, 1e-3),
    )
    show.now(f"{len(candidates)} settings in turns")
    run_rounds(
        candidates,
        lambda one: loader_of(data, made, batch_size, **knobs_of(one.settings)),
        until_s=until_s,
        turn=turn,
        step_time_s=step_time_s,
        tick=show.tick,
        keep=lambda lanes: setattr(findings, "lanes", lanes),
    )
