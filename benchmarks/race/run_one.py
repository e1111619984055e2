"""One run: a fresh process in the competitor's environment, watched from outside, with an end."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from race import tree
from race.bucket import dies_with_parent
from race.neighbours import Neighbours

if TYPE_CHECKING:
    from runner.job import Job

    from race.bucket import Bucket

BENCHMARKS = Path(__file__).resolve().parent.parent
GRACE_S = 3.0
ERROR_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run came to; ``error`` is None for a valid one. Seconds from the moment the loader is made.

    ``samples_per_s`` is from the first batch to the last: work that was under way when the first came is a gift, and
    loaders that make many batches side by side are given most. ``steady_samples_per_s`` is from 20 to 80 % of the
    epoch, with as much under way at the end as at the beginning.
    """

    error: str | None
    samples_per_s: float = 0.0
    steady_samples_per_s: float = 0.0
    whole_samples_per_s: float = 0.0
    first_batch_s: float = 0.0
    cpu_s_per_1000: float = 0.0
    later_cpu_us: float = 0.0
    server_cpu_us: float = 0.0
    peak_mb: float = 0.0
    others_share: float = 0.0
    work_cpu_us: float = 0.0
    checksum: int = -1
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


def run_one(python: Path, job: Job, bucket: Bucket | None, timeout_s: float) -> Outcome:
    """Run ``job``; whatever goes wrong in it is in the outcome, not raised."""
    with tempfile.TemporaryDirectory(prefix="aioloader-run-") as folder:
        job_file, result_file, log_file = (Path(folder, name) for name in ("job.json", "result.json", "log"))
        job_file.write_text(json.dumps(asdict(job)))
        environment = os.environ | {
            "PYTHONPATH": str(BENCHMARKS),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "tensorflow",
        }
        server_before = bucket.cpu_s() if bucket else 0.0
        before = tree.children()
        neighbours = Neighbours(time.monotonic())
        with log_file.open("wb") as log:
            child = subprocess.Popen(
                [str(python), "-P", "-m", "runner", str(job_file), str(result_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
                preexec_fn=dies_with_parent,
            )
            try:
                status, cpu_s, peak_bytes = _watch(child, timeout_s)
            except BaseException:  # Ctrl-C, or our own end: nothing of the run stays
                tree.kill(child.pid)
                raise
        more_cpu_s, killed = tree.end(tree.children() - before, GRACE_S)
        server_cpu_s = (bucket.cpu_s() if bucket else 0.0) - server_before
        others = neighbours.share(time.monotonic(), cpu_s + more_cpu_s + server_cpu_s)
        said = log_file.read_text(errors="replace")[-ERROR_CHARACTERS:].strip()
        if status != 0 or not result_file.exists():
            why = f"no end within {timeout_s:.0f} s" if status is None else f"exit status {status}"
            return Outcome(error=f"{why}\n{said}", options=job.options)
        result = json.loads(result_file.read_text())
    found = _outcome(job, result, cpu_s + more_cpu_s, server_cpu_s, peak_bytes, killed)
    return replace(found, others_share=others)


def _watch(child: subprocess.Popen[bytes], timeout_s: float) -> tuple[int | None, float, int]:
    """Exit status (None: it had to be killed), CPU seconds of it and the children it waited for, peak bytes."""
    memory, deadline, timed_out = tree.PeakMemory(child.pid), time.monotonic() + timeout_s, False
    while True:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            child.returncode = os.waitstatus_to_exitcode(status)
            return None if timed_out else child.returncode, usage.ru_utime + usage.ru_stime, memory.peak_bytes
        if time.monotonic() > deadline and not timed_out:
            timed_out = True
            tree.kill(child.pid)
        memory.look()
        time.sleep(0.05)


def _outcome(
    job: Job, result: dict[str, Any], cpu_s: float, server_cpu_s: float, peak_bytes: int, killed: int
) -> Outcome:
    arrivals, sizes = result["arrivals_s"], result["sizes"]
    error, notes = None, []
    if result["distinct"] != job.count or result["samples"] != job.count:
        error = f"invalid: {result['distinct']} distinct of {result['samples']} samples, expected {job.count}"
    if killed:
        notes.append(f"{killed} processes outlived it and were killed")
    after_first = sum(sizes[1:]) / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0
    return Outcome(
        error=error,
        samples_per_s=after_first,
        steady_samples_per_s=_steady(arrivals, sizes),
        whole_samples_per_s=sum(sizes) / arrivals[-1],
        first_batch_s=arrivals[0],
        cpu_s_per_1000=(cpu_s - result["cpu_at_start_s"]) / job.count * 1000,
        later_cpu_us=_later_cpu_s(result) / max(sum(sizes[1:]), 1) * 1e6,
        server_cpu_us=server_cpu_s / job.count * 1e6,
        peak_mb=peak_bytes / 1e6,
        work_cpu_us=result.get("work_cpu_s", 0.0) / result.get("of", job.count) * 1e6,
        checksum=result["checksum"],
        notes=notes,
        options=job.options,
    )


def _later_cpu_s(result: dict[str, Any]) -> float:
    """The tree's CPU from the first batch on: without the start of workers, but for what was under way then."""
    return float(result["cpu_at_end_s"] - result["cpu_at_first_s"])


def _steady(arrivals: list[float], sizes: list[int]) -> float:
    """Samples a second in the middle of the epoch; 0 where it has too few batches to have one."""
    first, last = len(arrivals) // 5, len(arrivals) * 4 // 5
    if last - first < 2:
        return 0.0
    return sum(sizes[first + 1 : last + 1]) / (arrivals[last] - arrivals[first])
