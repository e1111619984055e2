"""A few lines on the terminal while a loader is read: where the epoch is, what each stage does, what limits it."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from aioloader.units import human_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from aioloader.monitor.snapshot import Snapshot
    from aioloader.monitor.timeline import Span

_EVERY_S: Final = 0.5
_EVERY_LINE_S: Final = 30.0
"""Where nobody sees a line change: a file, a job's log."""
_LATEST_S: Final = 4.0
_BAR: Final = 20


class Shown(Protocol):
    """What can be shown: a `Loader` or an `AsyncLoader`."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        ...

    def snapshot(self, *, since_s: float = 0.0) -> Snapshot:
        """As it is now."""
        ...


@contextmanager
def progress(loader: Shown, *, epochs: int | None = None, file: TextIO | None = None) -> Iterator[None]:
    """Show, while the block runs, where ``loader`` is and what limits it now.

    ::

        with al.progress(loader, epochs=3):
            model.fit(loader.to_keras(), epochs=3, verbose=0)

    The epoch (of ``epochs``, where that is known) with the samples a second and the time that it still takes. Of the
    latest seconds: requests in flight of those allowed, and what one takes; decoders at work, and what a sample takes;
    finished batches in the queue; the share of the time that the consumer waits. The limit, and the knob that moves it
    (`Loader.verdict`). It looks twice a second, in a thread of its own: nothing is done a batch.
    On a terminal the lines change in place, and what the block prints goes above them (Keras' own bar needs
    ``verbose=0`` or ``2``); into a file, or a job's log, a line goes every half minute. ``file`` is standard error
    unless given. An epoch that was left early is counted with the next one.
    """
    out = sys.stderr if file is None else file
    over = threading.Event()
    thread = threading.Thread(
        target=_show_in_place if out.isatty() else _show_lines,
        args=(loader, epochs, out, over),
        name="aioloader-progress",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show_in_place(loader: Shown, epochs: int | None, out: TextIO, over: threading.Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=out)

    def text() -> Text:
        return Text(
            "\n".join(lines(loader.snapshot(), loader.steps_per_epoch, epochs)), no_wrap=True, overflow="ellipsis"
        )

    with Live(text(), console=console, auto_refresh=False) as live:
        while not over.wait(_EVERY_S):
            live.update(text(), refresh=True)
        live.update(text(), refresh=True)


def _show_lines(loader: Shown, epochs: int | None, out: TextIO, over: threading.Event) -> None:
    while True:
        is_over = over.wait(_EVERY_LINE_S)
        where, _, limit = lines(loader.snapshot(), loader.steps_per_epoch, epochs)
        print(f"{where}; {limit.strip()}", file=out, flush=True)
        if is_over:
            return


def lines(snapshot: Snapshot, steps: int, epochs: int | None = None) -> tuple[str, str, str]:
    """Where it is, what each stage does, what limits it."""
    span = snapshot.timeline.latest(_LATEST_S)
    verdict = snapshot.verdict
    limit = f" limit: {verdict.limit}"
    if verdict.knob:
        limit += f" -> {verdict.knob}" + (f", {verdict.gain:.1f} times as fast" if verdict.gain >= 1.05 else "")
    return _where(snapshot, steps, epochs, span), _stages(snapshot, span), limit


def _where(snapshot: Snapshot, steps: int, epochs: int | None, span: Span | None) -> str:
    stats = snapshot.stats
    done = stats.batches - stats.epochs * steps
    is_whole = epochs is not None and stats.epochs >= epochs
    number = min(stats.epochs + 1, epochs or stats.epochs + 1)
    words = f"epoch {number}" + (f"/{epochs}" if epochs else "")
    if is_whole:
        done = steps
    if 0 <= done <= steps and steps:
        filled = done * _BAR // steps
        words += f" {'━' * filled}{'─' * (_BAR - filled)} {done:,}/{steps:,} batches"
    else:  # an epoch before was left early
        words += f", {stats.batches:,} batches"
    rate = stats.samples_per_s if span is None or is_whole else span.samples_per_s
    words += f", {rate:,.0f} samples/s"
    per_s = span.per_s("batches") if span is not None else 0.0
    if per_s > 0 and 0 <= done < steps:
        words += f", {_duration((steps - done) / per_s)} left"
    return words


def _stages(snapshot: Snapshot, span: Span | None) -> str:
    if span is None:
        return " starting"
    settings = snapshot.settings
    kind = "processes" if settings.use_multiprocessing else "threads"
    return (
        f" fetch {min(round(span.in_flight), settings.concurrency):,}/{settings.concurrency:,}, "
        f"{human_time(span.fetch_mean_s)} · decode {span.busy_lanes:.1f}/{settings.workers} {kind}, "
        f"{human_time(span.decode_mean_s)} · queue {snapshot.queued}/{settings.max_queue_size}"
        f" · waits {span.data_wait_share:.0%}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"
