"""One backend's process: measures the parts it is told and writes one JSON line for each to standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from importlib import import_module
from time import perf_counter


def main() -> None:
    """``child.py PARTS REPEATS``; the backend is KERAS_BACKEND's. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for part in sys.argv[1].split(","):
        started = perf_counter()
        try:
            answer = import_module(f"keras_knobs.{part}").measure(int(sys.argv[2])).as_dict()
        except Exception as exc:  # the other parts are worth having
            answer = {"part": part, "failed": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(answer | {"seconds": perf_counter() - started}) + "\n")
        answers.flush()
    # PyDataset's processes and threads may stand in the way of an orderly end.
    answers.close()
    os._exit(0)


if __name__ == "__main__":
    main()
