"""The process's decode threads: one set for all loaders, daemons, ended with the last loader."""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import monotonic
from typing import Protocol

log = logging.getLogger(__name__)


class Lane(Protocol):
    """A stream as the threads see it."""

    def work(self) -> bool:
        """Decode one sample if there is one that may be decoded now; False if not. Must not raise."""
        ...


class DecodeThreads:
    """As many threads as the loader with most ``workers`` asked for; each stream bounds its own share."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lanes: deque[Lane] = deque()
        self._threads: list[threading.Thread] = []
        self._tokens = 0  # how many times work was announced and not yet looked for
        self._ended = False

    def add(self, lane: Lane, workers: int) -> None:
        """Serve ``lane`` with up to ``workers`` threads."""
        with self._changed:
            self._lanes.append(lane)
            while len(self._threads) < workers:
                thread = threading.Thread(target=self._run, name=f"aioloader-decode-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def remove(self, lane: Lane) -> None:
        """Serve it no more; a decode that runs goes on to its end."""
        with self._changed:
            if lane in self._lanes:
                self._lanes.remove(lane)

    def announce(self, samples: int) -> None:
        """``samples`` more may have become decodable."""
        with self._changed:
            self._tokens = min(self._tokens + samples, len(self._threads))
            self._changed.notify(samples)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._tokens and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                self._tokens -= 1
            while self._serve_once():
                pass

    def _serve_once(self) -> bool:
        with self._changed:
            if self._ended:
                return False
            lanes = list(self._lanes)
        return any(self._look_at(lane) for lane in lanes)

    def _look_at(self, lane: Lane) -> bool:
        with self._changed:
            if self._ended or lane not in self._lanes:
                return False
            # The stream looked at last waits longest. Not a rotation: behind an idle stream one got two turns.
            self._lanes.remove(lane)
            self._lanes.append(lane)
        return lane.work()

    def end(self) -> None:
        """Have every thread return after its running decode; does not wait."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads; what still decodes after ``timeout_s`` is abandoned and named."""
        deadline = monotonic() + timeout_s
        for thread in self._threads:
            if thread is threading.current_thread():
                continue
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                log.warning(
                    "%s is still in a decoder after close_timeout_s=%g and was abandoned; "
                    "the decoder (or transform) does not return",
                    thread.name,
                    timeout_s,
                )
