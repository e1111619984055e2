"""One mode's child interpreter, seen from its parent: asked, watched, and ended with all it started."""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from aioloader.cli.bench import tree
from aioloader.cli.bench.child import LENGTH
from aioloader.errors import AioloaderError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aioloader.cli.bench.task import Task

GRACE_S = 5.0
_LOOK_S = 0.1
_MEMORY_LOOK_S = 0.25
"""Reading it walks the page tables: looked at more often, it would slow what it watches."""
_KEPT_CHARACTERS = 2000


class RunFailedError(AioloaderError):
    """A run that gave no figures; its message is the sentence. ``is_fatal`` where the interpreter ended with it."""

    def __init__(self, message: str, is_fatal: bool = False) -> None:
        super().__init__(message, is_fatal)
        self.is_fatal = is_fatal

    def __str__(self) -> str:
        return str(self.args[0])


class Interpreter:
    """``with Interpreter() as child: child.ask(task, 60)``. After the block nothing of it is left."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"} | os.environ
        # A session of its own: Ctrl-C reaches this process, which ends the child when it is done with it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aioloader.cli.bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )
        self._said = b""

    def ask(self, task: Task, timeout_s: float, while_waiting: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The answer to ``task``, with the peak of the memory. Raises `RunFailedError`.

        ``while_waiting`` is called some times a second.
        """
        deadline, peak_bytes, memory_due = time.monotonic() + timeout_s, 0, 0.0
        self._send(task)
        while b"\n" not in self._said:
            while_waiting()
            now = time.monotonic()
            if now > deadline:
                raise RunFailedError(f"it did not end within {timeout_s:.0f} s (--timeout)", True)
            if now >= memory_due:
                peak_bytes = max(peak_bytes, tree.memory_bytes(self._process.pid))
                memory_due = time.monotonic() + max(_MEMORY_LOOK_S, 20 * (time.monotonic() - now))
            self._listen()
        line, _, self._said = self._said.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunFailedError(answer["error"])
        if peak_bytes:
            answer["peak_bytes"] = peak_bytes
        return answer

    def _send(self, task: Task) -> None:
        body = pickle.dumps(task)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(body)) + body)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], _LOOK_S)[0]:
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            self._said += more
            if not more:
                raise self._ended()
        elif self._has_ended() and not select.select([self._process.stdout], [], [], 0)[0]:
            # Something it started may live on and hold the pipe open.
            raise self._ended()

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _ended(self) -> RunFailedError:
        end = time.monotonic() + GRACE_S
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.01)
        found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        how = "its interpreter closed its output"
        if found is not None:
            is_signal = found.si_code != os.CLD_EXITED
            how = f"its interpreter ended {'by signal' if is_signal else 'with exit status'} {found.si_status}"
        return RunFailedError(how + self._last_words(), True)

    def _last_words(self) -> str:
        length = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), _KEPT_CHARACTERS, max(length - _KEPT_CHARACTERS, 0))
        lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
        return f": {lines[-1]}" if lines else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._leave()
        finally:
            tree.kill(self._process.pid)
            for pipe in (self._process.stdin, self._process.stdout, self._log):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
            self._process.wait()

    def _leave(self) -> None:
        """Let it end by itself: what it opened is closed in order."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        end = time.monotonic() + GRACE_S
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.01)
