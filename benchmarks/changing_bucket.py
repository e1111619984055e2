"""A bucket in a process of its own whose manners change when it is told to: a JSON line on stdin each.

python benchmarks/changing_bucket.py FOLDER '{"latency_s": 0.01}'
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def changing_bucket(folder: Path, manners: dict[str, Any]) -> Iterator[tuple[str, Callable[[dict[str, Any]], None]]]:
    """Its URL, and a function that changes its manners (the fields of `Manners`)."""
    command = [sys.executable, __file__, str(folder), json.dumps(manners)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def change(other: dict[str, Any]) -> None:
            stdin.write(json.dumps(other) + "\n")
            stdin.flush()
            stdout.readline()

        try:
            yield stdout.readline().strip(), change
        finally:
            stdin.close()
            process.wait(10)


def main() -> None:
    """Serve until stdin ends."""
    _, folder, first = sys.argv
    with serve_in_thread(folder, Manners(**json.loads(first))) as bucket:
        print(bucket.url, flush=True)
        for line in sys.stdin:
            bucket.behave(Manners(**json.loads(line)))
            print("changed", flush=True)


if __name__ == "__main__":
    main()
