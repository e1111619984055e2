"""The process's decode threads: one set for all loaders, daemons, ended with the last loader."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Protocol

from aioloader.runtime.cpu import ThreadClock

log = logging.getLogger(__name__)


class Lane(Protocol):
    """A stream as the threads see it."""

    def work(self) -> bool:
        """Decode one sample if there is one that may be decoded now; False if not. Must not raise."""
        ...


class DecodeThreads:
    """As many threads as the loader with most ``workers`` asked for; each stream bounds its own share."""

    def __init__(self) -> None:
        # `with` on the lock, not on a condition: whose `__exit__` is Python, where Ctrl-C could leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._settled = threading.Condition(self._lock)
        self._lanes: list[Lane] = []
        self._threads: list[threading.Thread] = []
        self._busy: dict[threading.Thread, Lane] = {}
        self._started = 0
        self._clocks: list[ThreadClock] = []
        self._tokens = 0  # how many times work was announced and not yet looked for
        self._ended = False

    def add(self, lane: Lane, workers: int) -> None:
        """Serve ``lane`` with up to ``workers`` threads."""
        with self._lock:
            self._lanes.append(lane)
            self.want(workers)

    def want(self, workers: int) -> None:
        """Have at least ``workers`` threads. Raises `RuntimeError` where the system starts no more."""
        with self._lock:
            while len(self._threads) < workers and not self._ended:
                self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"aioloader-decode-{self._started}", daemon=True)
        self._started += 1
        thread.start()
        self._threads.append(thread)

    def remove(self, lane: Lane) -> None:
        """Serve it no more; a decode that runs goes on to its end."""
        with self._lock:
            if lane in self._lanes:
                self._lanes.remove(lane)

    def announce(self, samples: int) -> None:
        """``samples`` more may have become decodable."""
        if self._tokens >= len(self._threads) > 0:
            return  # each thread has yet to look: it will see them
        with self._lock:
            self._tokens = min(self._tokens + samples, len(self._threads))
            self._changed.notify(samples)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all of them so far, those that have ended included; any thread."""
        return sum(clock.seconds() for clock in list(self._clocks))

    def _run(self) -> None:
        self._clocks.append(ThreadClock())
        me = threading.current_thread()
        while self._token(me):
            while self._serve_once(me):
                pass

    def _token(self, me: threading.Thread) -> bool:
        """Wait until work was announced; False once this thread is to end."""
        with self._lock:
            while not self._tokens and not self._ended and me in self._threads:
                self._changed.wait()
            if self._ended or me not in self._threads:
                return False
            self._tokens -= 1
            return True

    def _serve_once(self, me: threading.Thread) -> bool:
        with self._lock:
            lanes = list(self._lanes)
        return any(self._look_at(lane, me) for lane in lanes)

    def _look_at(self, lane: Lane, me: threading.Thread) -> bool:
        with self._lock:
            if self._ended or lane not in self._lanes or me not in self._threads:
                return False
            # The stream looked at last waits longest. Not a rotation: behind an idle stream one got two turns.
            self._lanes.remove(lane)
            self._lanes.append(lane)
            self._busy[me] = lane
        try:
            did = lane.work()
            # While it is the only one, its turns follow each other without the lock: 5 µs a sample.
            while did and self._is_alone(lane, me) and lane.work():
                pass
            return did
        finally:
            with self._lock:
                del self._busy[me]
                self._settled.notify_all()

    def _is_alone(self, lane: Lane, me: threading.Thread) -> bool:
        """Whether there is no other lane to look at, and ``me`` is not to end; no lock: who errs looks again."""
        return self._lanes == [lane] and not self._ended and me in self._threads

    def settle(self, lane: Lane, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic) for the running decodes of ``lane``.

        One that takes longer is named, once, and its thread is replaced.
        """
        with self._lock:
            while self._threads_in(lane) and monotonic() < deadline:
                self._settled.wait(deadline - monotonic())
            for thread in self._threads_in(lane):
                if thread in self._threads:
                    log.warning(
                        "%s is still in a decoder of an ended stream and was abandoned: "
                        "the decoder (or transform) does not return",
                        thread.name,
                    )
                    self._threads.remove(thread)
                    if not self._ended:
                        self._start_thread()  # the other loaders must not starve for it

    def is_busy_with(self, lane: Lane) -> bool:
        """Whether a decode of ``lane`` runs."""
        with self._lock:
            return bool(self._threads_in(lane))

    def _threads_in(self, lane: Lane) -> list[threading.Thread]:
        me = threading.current_thread()  # a decoder that closes its own loader does not wait for itself
        return [thread for thread, served in self._busy.items() if served is lane and thread is not me]

    def end(self) -> None:
        """Have every thread return after its running decode; does not wait."""
        with self._lock:
            self._ended = True
            self._changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the threads to end, after `end` and at most until ``deadline`` (monotonic)."""
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - monotonic()))
