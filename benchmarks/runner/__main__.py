"""``python -m runner JOB.json RESULT.json``: one run of one competitor, in its own environment."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from runner.counting import Count
from runner.job import Job


def counted(job: Job, loader: Any) -> dict[str, Any]:
    """One epoch by a plain loop that only counts."""
    count = Count(job.count)
    with loader.batches(job) as batches:
        for samples, ids in batches:
            count.add(samples, ids)
        return count.result()


def main() -> None:
    """Read the job, run it, write the result."""
    job_file, result_file = map(Path, sys.argv[1:3])
    job = Job.read(job_file)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    loader = importlib.import_module(f"peers.{job.peer}.loader")
    if hasattr(loader, "prepare"):  # what lies before the clock: imports, and a listing that others are given
        loader.prepare(job)
    if hasattr(loader, "run"):  # a reference line, which times itself
        result = loader.run(job)
    elif job.through_fit:
        from runner.fitting import fitted

        result = fitted(job, loader)
    else:
        result = counted(job, loader)
    result_file.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
