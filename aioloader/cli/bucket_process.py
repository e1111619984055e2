"""A bucket in a process of its own, so that it takes no time from the loader that is watched."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aioloader.errors import AioloaderError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STOP_TIMEOUT_S = 3.0


@contextmanager
def bucket_process(folder: Path, latency_s: float, *more: str) -> Iterator[str]:
    """The URL of a child ``aioloader serve folder``, with ``more`` options; the child ends with the ``with`` block.

    It also ends when this process dies in whatever way: its standard input closes then. Raises
    `AioloaderError` where it does not start; its own words are on stderr.
    """
    command = [sys.executable, "-m", "aioloader", "serve", str(folder), "--port", "0"]
    command += ["--latency", f"{latency_s}s", "--until-stdin-ends", *more]
    # A session of its own: Ctrl-C reaches this process, which stops the child when it is done with it.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            assert child.stdout is not None
            first_line = child.stdout.readline()
            if not first_line:
                raise AioloaderError("the local bucket did not start; what it said is above")
            yield first_line.split()[-1]
        finally:
            child.terminate()
            try:
                child.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
