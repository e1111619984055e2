"""The trace that a stalled stream leaves behind; written in a thread, for what stalls may be the disk itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import threading
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.view.trace import trace_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioloader.engine.job import Job

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 2.0


def trace_of(job: Job, *, note: str = "", about: Mapping[str, str] | None = None) -> str:
    """What was done so far, as JSON for Perfetto; from any thread."""
    counters = job.counters
    return trace_json(
        counters.recorder,
        counters.timeline,
        job.controller.changes,
        until_s=monotonic(),
        source=job.samples.store.location,
        about=about,
        note=note,
    )


class StallTrace:
    """A file in the ledger's folder, or where temporary files go. It never raises, and is waited for two seconds."""

    def __init__(self, job: Job, description: str) -> None:
        self._path: Future[str] = Future()
        self._path.set_running_or_notify_cancel()
        folder = None if job.ledger.path is None else str(job.ledger.path.absolute().parent)
        thread = threading.Thread(
            target=_write, args=(job, description, folder, self._path), name="aioloader-trace", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system starts no more threads
            self._path.set_result("")

    def wait(self) -> str:
        """A sentence that says where it is; "" where there is none."""
        with contextlib.suppress(TimeoutError):
            return _sentence(self._path.result(_PATIENCE_S))
        return ""

    async def wait_async(self) -> str:
        """The same, on a loop."""
        with contextlib.suppress(TimeoutError):
            return _sentence(await asyncio.wait_for(asyncio.wrap_future(self._path), _PATIENCE_S))
        return ""


def _write(job: Job, description: str, folder: str | None, path: Future[str]) -> None:
    try:
        text = trace_of(job, note=f"stalled: {description}")
        descriptor, name = tempfile.mkstemp(prefix="aioloader-stall-", suffix=".json", dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except Exception as exc:
        log.warning("no trace of the stall could be written: %s", exc)
        name = ""
    path.set_result(name)


def _sentence(path: str) -> str:
    return f" What was done until then is drawn in {path} (open it with Perfetto or chrome://tracing)." if path else ""
