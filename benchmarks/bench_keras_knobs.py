"""What do `workers`, `max_queue_size` and `use_multiprocessing` do in the Keras that is installed?

    python benchmarks/bench_keras_knobs.py [--parts rates,gap] [--backends tensorflow,jax] [--repeats 3] [--out FILE]

Nothing is asserted: what is printed is what was seen. Each backend runs in a process of its own, in which alternatives
are interleaved; a batch is a wait (`time.sleep`), the model one Dense layer. `docs/tuning.md` quotes the figures of
`--repeats 5`. Where the machine is quiet: five minutes for three backends with three rounds, or for one with five.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from harness import environment
from keras_knobs.table import TITLES, Table, markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
ONCE = ("loaders",)
"""Parts that one backend is enough for."""


def measured(backend: str, parts: Sequence[str], repeats: int, patience_s: float, timeout_s: float) -> dict[str, Table]:
    """What a process of ``backend`` measured until it was done, or until ``timeout_s``."""
    here = Path(__file__).parent
    paths = [str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
    child_environment = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONWARNINGS": "ignore",
    }
    child = here / "keras_knobs" / "child.py"
    command = [sys.executable, str(child), ",".join(parts), str(repeats), str(patience_s)]
    started = perf_counter()
    try:
        # Its complaints would drown the table; what a part failed with is in its answer.
        said = subprocess.run(
            command, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout_s
        ).stdout
    except subprocess.TimeoutExpired as exc:
        said = exc.stdout or b""
    tables = {}
    for line in said.decode().splitlines():
        answer = json.loads(line)
        print(f"{backend} {answer['part']}: {answer.pop('seconds'):.0f} s", file=sys.stderr)
        if "failed" in answer:
            tables[answer["part"]] = Table(answer["part"], ["failed"], [[answer["failed"]]], {}, answer["others_share"])
        else:
            tables[answer["part"]] = Table(**answer)
    for part in parts:
        missing = f"no answer within {perf_counter() - started:.0f} s"
        tables.setdefault(part, Table(part, ["failed"], [[missing]]))
    return tables


def versions() -> str:
    """The machine, and what the harness does not name."""
    found = environment()
    for name in ("jax", "torch"):
        if find_spec(name) is not None:
            found[name] = metadata.version(name)
    return ", ".join(f"{key} {value}" for key, value in found.items())


def main() -> None:
    """Measure, print, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--parts", default=",".join(TITLES), help="of " + ", ".join(TITLES))
    installed = [name for name, module in BACKENDS.items() if find_spec(module) is not None]
    options.add_argument("--backends", default=",".join(installed), help="default: those that are installed")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--patience", type=float, default=0.0, help="seconds a part may wait for a quiet machine")
    options.add_argument("--timeout", type=float, default=600.0, help="seconds a backend may take")
    options.add_argument("--out", type=Path, help="where the tables go as well; raw figures beside them as .json")
    chosen = options.parse_args()
    parts = chosen.parts.split(",")
    if unknown := set(parts) - set(TITLES):
        options.error(f"--parts: no {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    started = perf_counter()
    by_part: dict[str, dict[str, Table]] = {part: {} for part in parts}
    backends = chosen.backends.split(",")
    for backend in backends:
        asked = [part for part in parts if part not in ONCE or backend == backends[0]]
        for part, table in measured(backend, asked, chosen.repeats, chosen.patience, chosen.timeout).items():
            by_part[part][backend] = table
    text = "\n\n".join(markdown(part, tables) for part, tables in by_part.items())
    taken = f"{perf_counter() - started:.0f} s"
    text += f"\n\n{chosen.repeats} interleaved rounds (2 of `threads`); {versions()}; {taken}"
    print(text)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n")
        raw = {part: {name: table.as_dict() for name, table in tables.items()} for part, tables in by_part.items()}
        chosen.out.with_suffix(".json").write_text(json.dumps({"versions": versions(), "parts": raw}, indent=2) + "\n")


if __name__ == "__main__":
    main()
