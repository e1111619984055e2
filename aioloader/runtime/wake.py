"""An event for a thread that Ctrl-C may hit at any line."""

from __future__ import annotations

import contextlib
import threading


class Wake:
    """Set once or again from any thread; waited for by one or more.

    Not `threading.Event`: its lock is taken and given back by Python code, and a KeyboardInterrupt between the two
    leaves it taken, so that the thread that sets the event would wait for ever. Here every step is one C call.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._is_set = False

    def set(self) -> None:
        """Let waiters go; any thread."""
        self._is_set = True
        with contextlib.suppress(RuntimeError):  # it was open
            self._gate.release()

    def clear(self) -> None:
        """Have the next wait wait."""
        self._is_set = False
        self._gate.acquire(blocking=False)

    def wait(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` until it is set; whether it is. Ctrl-C interrupts."""
        if not self._is_set and self._gate.acquire(timeout=max(timeout_s, 0.0)):
            with contextlib.suppress(RuntimeError):
                self._gate.release()  # for whoever else waits
        return self._is_set
