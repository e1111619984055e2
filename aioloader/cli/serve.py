"""``aioloader serve``: a folder as a local bucket with bad manners."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from aioloader.cli.units import bandwidth_bytes_per_s, duration_s, rate_limit, share
from aioloader.errors import OptionError

if TYPE_CHECKING:
    import argparse

    from aioloader.serve import LocalBucket

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EXAMPLE = "example: aioloader serve photos --latency 30ms --jitter 10ms --bandwidth 50MB --error-rate 1%"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add ``serve`` to ``commands``."""
    parser = commands.add_parser(
        "serve",
        help="serve a folder over HTTP as a bucket with bad manners",
        description="Serve a folder over HTTP, read-only, as a bucket as slow and unreliable as told.",
        epilog=_EXAMPLE,
        parents=[shared],
    )
    add = parser.add_argument
    add("folder", metavar="DIR", help="the folder to serve")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--port", type=int, default=8080, help="port; 0 takes a free one (default: 8080)")
    add("--latency", type=duration_s, default=0.0, metavar="TIME",
        help="before each answer, e.g. 30ms; the median where --latency-p99 is given (default: 0)")  # fmt: skip
    add("--jitter", type=duration_s, default=0.0, metavar="TIME",
        help="added to the latency: an even draw from 0 to TIME (default: 0)")  # fmt: skip
    add("--latency-p99", type=duration_s, default=None, metavar="TIME",
        help="log-normal latencies, one in a hundred above TIME, e.g. 400ms")  # fmt: skip
    add("--bandwidth", type=bandwidth_bytes_per_s, default=None, metavar="SIZE",
        help="bytes a second, shared by all connections, e.g. 50MB (default: no limit)")  # fmt: skip
    add("--error-rate", type=share, default=0.0, metavar="SHARE",
        help="share of the requests to refuse, e.g. 0.01 or 1%% (default: 0)")  # fmt: skip
    add("--error-status", type=int, action="append", metavar="STATUS",
        help="what refused requests get; several: each as likely (default: 503)")  # fmt: skip
    add("--rate-limit", type=rate_limit, default=(None, None), metavar="PER_S[,BURST]",
        help="requests a second, and at once (default: a second's worth); others are refused")  # fmt: skip
    add("--rate-limit-status", type=int, default=503, choices=(429, 503),
        help="what they are refused with (default: 503)")  # fmt: skip
    add("--seed", type=int, default=0, help="another seed, other draws (default: 0)")
    add("--until-stdin-ends", action="store_true",
        help="also stop when standard input closes: for programs that start this one")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; returns 0."""
    from aioloader.runtime.loop_thread import new_loop
    from aioloader.serve import LocalBucket, Manners

    if not 0 <= options.port <= 65535:
        raise OptionError("port", repr(options.port), "0 to 65535; 0 takes a free one")
    manners = Manners(
        latency_s=options.latency,
        jitter_s=options.jitter,
        latency_p99_s=options.latency_p99,
        bandwidth_bytes_per_s=options.bandwidth,
        error_rate=options.error_rate,
        error_statuses=tuple(options.error_status or [503]),
        rate_limit_per_s=options.rate_limit[0],
        rate_limit_burst=options.rate_limit[1],
        rate_limit_status=options.rate_limit_status,
        seed=options.seed,
    )
    bucket = LocalBucket(options.folder, manners, host=options.host, port=options.port)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve(bucket, options.host, until_stdin_ends=options.until_stdin_ends))
    return 0


async def _serve(bucket: LocalBucket, host: str, *, until_stdin_ends: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signal_numbers = (signal.SIGINT, signal.SIGTERM)
    for signal_number in signal_numbers:
        loop.add_signal_handler(signal_number, stop.set)
    try:
        async with bucket:
            if until_stdin_ends:
                threading.Thread(target=_stop_when_stdin_ends, args=(loop, stop), daemon=True).start()
            _greet(bucket, host)
            await stop.wait()
    finally:
        for signal_number in signal_numbers:  # a closed uvloop keeps them, and Ctrl-C would do nothing
            loop.remove_signal_handler(signal_number)
    counts = bucket.statistics()
    print(
        f"answered {counts.requests:,} requests ({counts.refusals:,} refused on purpose, "
        f"{counts.abandoned:,} given up by the client), {counts.body_bytes / 1e6:,.1f} MB"
    )


def _greet(bucket: LocalBucket, host: str) -> None:
    # The line ends with the URL, and comes when requests are answered: other programs wait for it.
    print(f"serving {bucket.folder} with {bucket.manners} at {bucket.url}")
    print(f'  try: al.image_folder("{bucket.url}"), or curl {bucket.url}index.jsonl')
    if host not in _LOOPBACK:
        print("  whoever reaches this machine can read the folder")
    print("  stop: Ctrl-C", flush=True)


def _stop_when_stdin_ends(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # Not sys.stdin: its lock, held by a daemon thread, would break the interpreter's exit.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(stop.set)
