"""One backend's process: measures the parts it is told and writes one JSON line for each to standard output."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import warnings
from importlib import import_module
from time import monotonic

from race.neighbours import Neighbours, wait_for_quiet


def main() -> None:
    """``child.py PARTS REPEATS PATIENCE_S`` for KERAS_BACKEND; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for part in sys.argv[1].split(","):
        wait_for_quiet(monotonic() + float(sys.argv[3]))
        started_s, children_s = monotonic(), _children_s()
        neighbours = Neighbours(started_s)
        try:
            answer = import_module(f"keras_knobs.{part}").measure(int(sys.argv[2])).as_dict()
        except Exception as exc:  # the other parts are worth having
            answer = {"part": part, "failed": f"{type(exc).__name__}: {exc}"}
        others = neighbours.share(monotonic(), _children_s() - children_s)
        answers.write(json.dumps(answer | {"seconds": monotonic() - started_s, "others_share": others}) + "\n")
        answers.flush()
    # PyDataset's processes and threads may stand in the way of an orderly end.
    answers.close()
    os._exit(0)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
