"""The ``aioloader`` command: parses, hands over to a subcommand, and turns endings into exit codes.

0 is success, 1 a command that ran and says no, 2 a wrong option or anything that aioloader raises on purpose
(one line on stderr; ``--debug`` adds the traceback), 130 Ctrl-C, 143 SIGTERM where there is something to remove.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from aioloader import __version__
from aioloader.cli import cache, demo, serve
from aioloader.cli.bench import command as bench
from aioloader.cli.tuning import command as tune
from aioloader.errors import AioloaderError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; each sets ``run``, a function from the parsed options to an exit code."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks of errors")
    parser = argparse.ArgumentParser(
        prog="aioloader",
        description="Streams training data from disk, HTTP(S), S3, GCS and Azure into Keras.",
        parents=[shared],
    )
    parser.add_argument("--version", action="version", version=f"aioloader {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo.add_command(commands, shared)
    tune.add_command(commands, shared)
    bench.add_command(commands, shared)
    serve.add_command(commands, shared)
    cache.add_command(commands, shared)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (``sys.argv`` by default); returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AioloaderError as exc:
        if "debug" in options:
            raise
        print(f"aioloader: {exc}", file=sys.stderr)
        return 2
    return code
