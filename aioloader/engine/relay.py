"""Streams that follow one another for one consumer, who does not notice."""

from __future__ import annotations

import contextlib
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

from aioloader.engine.shared import process_body_bytes
from aioloader.monitor.timeline import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from aioloader.engine.job import Job
    from aioloader.engine.pulse import Pulse
    from aioloader.engine.state import Waiter
    from aioloader.engine.step import Step
    from aioloader.engine.stream import Stream
    from aioloader.runtime.loop import LoopLease

    MakeStream = Callable[[int, int, int], Stream]
    """Of the epoch and step it begins with, and the last epoch it may fetch."""


class Relay:
    """One stream, and while it is handed over the one that goes on, in the order the consumer takes their steps.

    Together they open no more steps, and begin no more samples, than one would; the second fetches once the first
    has no request in flight and will make none. Created by the session in the caller's thread; ``start``,
    ``hand_over`` and ``end`` run on the loop.
    """

    def __init__(
        self,
        stream: Stream,
        lease: LoopLease,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        on_change: Callable[[], object],
    ) -> None:
        """``spawn`` makes a task that the loader's end waits for. ``on_change`` is called where a `hand_over` that
        could not be may be now; any thread, under no lock."""
        self.owner: object | None = None
        """The iterator that reads it now; another one opening it makes the former raise."""
        self.is_closed = False
        self._lease = lease
        self._spawn = spawn
        self._on_change = on_change
        self._is_started = False
        self._streams: tuple[Stream, ...] = (stream,)
        self.pulse: Pulse | None = None
        """Beats from `start` until it ends."""
        self._afterwards: dict[Stream, Callable[[], Awaitable[None]]] = {}  # on the loop
        # Not taken by `close`, which a collection may call while another lock is held; reentrant for the same reason.
        self._lock = threading.RLock()
        stream.kept = self

    # -- the consumer's end ----------------------------------------------------------------------------------

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Oldest first."""
        return self._streams

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can be read, by whoever's wish or fault."""
        return self.is_closed or any(stream.state.closed for stream in self._streams)

    @property
    def last_epoch(self) -> int:
        """How far fetching may run."""
        return self._streams[-1].state.last_epoch

    @property
    def last_progress(self) -> float:
        """When something was fetched or decoded (monotonic)."""
        return max(stream.state.last_progress for stream in self._streams)

    @property
    def settings(self) -> Settings:
        """What those work with whose steps the consumer takes now."""
        stream = self._streams[0]
        workspace = stream.job.workspace
        return Settings(
            concurrency=self.concurrency,
            workers=stream.workers,
            use_multiprocessing=stream.job.options.use_multiprocessing,
            max_queue_size=workspace.max_queue_size if workspace.ring is None else workspace.open_steps,
        )

    @property
    def is_blocked(self) -> bool:
        """Whether fetching waits for the byte budget."""
        return self._streams[-1].is_blocked

    @property
    def next_epoch_and_step(self) -> tuple[int, int]:
        """The epoch and step the consumer gets next."""
        return self._streams[0].state.next_epoch_and_step

    def pop(self, waiter: Waiter) -> tuple[Job, Step] | None:
        """The next whole step with the job it was made for, or None and ``waiter`` is called when to look again."""
        with self._lock:
            self._go_over()
            stream = self._streams[0]
            step = stream.pop(waiter)
            if step is not None and len(self._streams) > 1:
                self._share_room()
        if step is None:
            return None
        self._on_change()
        return stream.job, step

    def _go_over(self) -> None:
        # Only when the consumer asks again: until then it may be delivering the last step.
        if len(self._streams) > 1 and self._streams[0].state.left[0] == 0:
            passed, *rest = self._streams
            self._streams = tuple(rest)
            self._lease.post(self._end_passed, passed)

    def _share_room(self) -> None:
        """Steps and samples of the first stream that the consumer has yet to take are ahead of the second's."""
        for before, stream in pairwise(self._streams):
            stream.state.set_ahead_elsewhere(*before.state.left)
            stream.room_changed()
        self._lease.post(self._share_bodies)

    def extend(self, last_epoch: int) -> None:
        """Let fetching run up to the end of ``last_epoch``, no further; what was fetched beyond stays."""
        with self._lock:
            self._streams[-1].extend(last_epoch)
            for stream in self._streams[:-1]:
                stream.wake(stream.state.release_waiter())  # another iterator's: it hears that it was replaced

    def describe_in_flight(self) -> str:
        """The oldest samples being worked on, and for how long; for `StalledError`."""
        texts = [stream.describe_in_flight() for stream in self._streams]
        return next((text for text in texts if not text.startswith("nothing")), texts[-1])

    # -- going over --------------------------------------------------------------------------------------------

    @property
    def concurrency(self) -> int:
        """Requests in flight at most, now."""
        return self._streams[-1].concurrency

    def start(self) -> None:
        """Begin; on the loop."""
        self._is_started = True
        for stream in self._streams:
            stream.start()
        if self.pulse is not None and not self.is_closed:
            self.pulse.start()
        self._on_change()

    def hand_over(self, make: MakeStream, afterwards: Callable[[], Awaitable[None]]) -> bool:
        """Have the stream that ``make`` returns go on where this one has begun nothing yet; False: not now.

        ``afterwards`` is awaited once, when the former has ended; it must not raise.
        """
        with self._lock:
            old = self._streams[-1]
            if not self._is_started or self.has_ended or len(self._streams) > 1:
                return False
            border = old.hand_over()
            if border is None:
                return False
            new = make(*border, old.state.last_epoch)
            new.kept = self
            self._afterwards[old] = afterwards
            self._streams = (old, new)
            self._share_room()
        if self.is_closed:
            new.wake(new.state.close())  # between two lines of ours
        old.state.when_fetched(lambda: self._lease.post(self._begin_next, new))
        old.wake(old.state.release_waiter())  # it may have been waiting for what is the new one's
        return True

    def _begin_next(self, stream: Stream) -> None:
        self._share_bodies()
        stream.start()

    def _share_bodies(self) -> None:
        stream = self._streams[-1]
        held = sum(before.body_bytes_held for before in self._streams[:-1])
        stream.set_body_bytes(max((stream.job.options.body_bytes or process_body_bytes()) - held, 1))

    def _end_passed(self, stream: Stream) -> None:
        if not self.is_closed:  # else it is among those that `_end_all` ends
            self._share_bodies()
        self._spawn(self._end_one(stream))

    async def _end_one(self, stream: Stream) -> None:
        with contextlib.suppress(Exception):  # there is nobody to tell
            await stream.end()
        afterwards = self._afterwards.pop(stream, None)
        if afterwards is not None:
            await afterwards()

    def room_changed(self) -> None:
        """More steps may be open than before, or fewer; any thread."""
        for stream in self._streams:
            stream.room_changed()

    def set_concurrency(self, concurrency: int) -> None:
        """So many requests in flight from now on; on the loop."""
        self._streams[-1].set_concurrency(concurrency)

    def set_workers(self, workers: int) -> None:
        """So many decoders of this process from now on; on the loop."""
        self._streams[-1].set_workers(workers)

    # -- endings -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End it: nothing more is delivered from now on, the rest follows on the loop. Not for finalizers."""
        self.is_closed = True
        for stream in self._streams:
            stream.wake(stream.state.close())
        self.close_soon()

    def close_soon(self) -> None:
        """End it without waiting or locking; from anywhere, a finalizer included."""
        self._lease.post(self._begin_end)

    def _begin_end(self) -> None:
        self.is_closed = True
        for stream in self._streams:
            stream.begin_end()
        self._stop_pulse()
        for stream in list(self._afterwards):
            self._spawn(self._end_one(stream))
        self._on_change()

    async def end(self) -> None:
        """Stop all work and wait until none is left; on the loop. Idempotent."""
        self.is_closed = True
        for stream in {*self._streams, *self._afterwards}:
            stream.begin_end()
        self._stop_pulse()
        for stream in {*self._streams, *self._afterwards}:
            await self._end_one(stream)

    def _stop_pulse(self) -> None:
        if self.pulse is not None:
            self.pulse.stop()

    @property
    def is_stuck(self) -> bool:
        """After `end`: whether a decode still runs, which nobody can end."""
        return any(stream.is_stuck for stream in self._streams)

    def abandon_stuck(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic) for running decodes; then name, replace and forget who runs them."""
        for stream in self._streams:
            stream.abandon_stuck(deadline)
