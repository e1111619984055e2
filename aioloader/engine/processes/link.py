"""The parent's end of one worker process: how it is started, what it knows, what it has to do, how it ended."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from aioloader.engine.processes.board import Board
from aioloader.engine.processes.wire import Frames, ToChild, pickled
from aioloader.errors import WorkersFailedError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence

    from aioloader.batch.arena import Arena
    from aioloader.engine.processes.recipe import PackedRecipe

CHILD = Path(__file__).with_name("child.py")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""A child decodes in one thread: libraries that start one per core are told so, unless the user said otherwise."""


_LONGEST_FRAME = 64_000_000
"""Bytes; the longest that a child sends is an error with its traceback. Else garbage would be waited for for ever."""


class Link:
    """One child. Created and used on the loop, but for `spawn` and `reap`, which block and run in a thread."""

    def __init__(self, on_frame: Callable[[Link, int, bytes], None], on_end: Callable[[Link], None]) -> None:
        self.is_up = False
        self.is_solo = False
        """Whether it works on a suspect, and on nothing else."""
        self.started_at = monotonic()
        self.pid = 0
        self.recipes: set[int] = set()
        """Those it was sent, by number."""
        self.loaded: set[int] = set()
        """Those it says it has loaded."""
        self.fields: dict[int, Arena] = {}
        self.streams: set[int] = set()
        self.outstanding: dict[int, dict[int, float]] = {}
        """Of each stream: the tickets it was given and is not done with, and since when (monotonic)."""
        self.in_flight: dict[int, tuple[int, int]] = {}
        self.board = Board()
        self.killed_because = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._frames = Frames(lambda kind, payload: on_frame(self, kind, payload), lambda: on_end(self), _LONGEST_FRAME)
        self._channel, self._channel_of_child = socket.socketpair()
        self._descriptors, self._descriptors_of_child = socket.socketpair()
        self._lifeline_of_child, self._lifeline = os.pipe()
        self._end = on_end

    def spawn(self) -> None:
        """Start the interpreter; blocks for a few milliseconds. Raises `WorkersFailedError` where that cannot be."""
        if not sys.executable:
            raise WorkersFailedError("sys.executable is not set, so no worker process can be started; use threads")
        theirs = [self._channel_of_child.fileno(), self._descriptors_of_child.fileno(), self._lifeline_of_child]
        environment = dict.fromkeys(_ONE_THREAD, "1") | os.environ
        # Ctrl-C that comes before the child has its own group, and before it ignores the signal, waits there unheard.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[*theirs, self.board.descriptor],
                process_group=0,  # Ctrl-C in the terminal is the parent's to answer
            )
        except OSError as exc:
            raise WorkersFailedError(f"no worker process could be started: {exc}") from exc
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = self._process.pid
        self._close_theirs()
        start: dict[str, Any] = {
            "path": [entry or "." for entry in sys.path],
            "argv": sys.argv,
            "cwd": None,
            "board": self.board.descriptor,
        }
        with contextlib.suppress(OSError):  # a folder that was deleted under us
            start["cwd"] = str(Path.cwd())
        payload = pickle.dumps(start)
        with contextlib.suppress(OSError):  # it has died: the socket's end tells
            self._channel.sendall(struct.pack("<I", len(payload)) + payload)

    async def connect(self, loop: AbstractEventLoop) -> None:
        """Listen to it from now on."""
        self._channel.setblocking(False)
        await loop.connect_accepted_socket(lambda: self._frames, self._channel)

    def send(self, kind: ToChild, message: object) -> None:
        """On the loop; lost where the child has died, which is told apart."""
        self._frames.send(kind, pickled(message))

    def teach(self, recipe: PackedRecipe) -> None:
        """Send a loader's recipe, once."""
        if recipe.number not in self.recipes:
            self.recipes.add(recipe.number)
            self.send(ToChild.JOB, (recipe.number, recipe.payload, recipe.seed))

    def forget(self, recipe: int) -> None:
        """That loader's store, decoder and slabs may go."""
        if recipe in self.recipes:
            self.recipes.discard(recipe)
            self.loaded.discard(recipe)
            self.fields.pop(recipe, None)
            self.send(ToChild.FORGET, recipe)

    def send_fields(self, recipe: int, arena: Arena, message: dict[str, Any]) -> None:
        """The loader's slabs: their descriptor goes beside the frame."""
        with contextlib.suppress(OSError):  # it has died
            socket.send_fds(self._descriptors, [b"\0"], [arena.descriptor])
        self.fields[recipe] = arena
        self.send(ToChild.FIELDS, {"recipe": recipe, "layout": arena.layout, "slabs": arena.slabs, **message})

    @property
    def load(self) -> int:
        """Samples of all streams it was given and is not done with."""
        return sum(map(len, self.outstanding.values()))

    def hang_up(self) -> None:
        """Have it end: it does at the end of the socket."""
        self._frames.close()

    def kill(self, why: str) -> None:
        """End it at once, in whatever it is."""
        self.killed_because = why
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def reap(self, patience_s: float) -> int:
        """Wait for its end, at most ``patience_s``, then kill it; returns the exit code, negative for a signal."""
        code = 0
        if self._process is not None:
            try:
                code = self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
        return code

    def close(self) -> None:
        """Let go of every descriptor; after `reap`. Idempotent."""
        self._frames.abort()
        self._close_theirs()
        self._channel.close()
        self._descriptors.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self.board.close()

    def _close_theirs(self) -> None:
        self._channel_of_child.close()
        self._descriptors_of_child.close()
        if self._lifeline_of_child >= 0:
            os.close(self._lifeline_of_child)
            self._lifeline_of_child = -1

    def forget_in_fork(self) -> None:
        """In a forked child of ours: let go of what would keep the worker alive after our parent's end."""
        with contextlib.suppress(OSError):
            self._channel.close()
        with contextlib.suppress(OSError):
            os.close(self._lifeline)


def reap_all(links: Sequence[Link], patience_s: float) -> None:
    """Wait for the ends of all, ``patience_s`` together; then kill who is left. Blocks."""
    deadline_s = monotonic() + patience_s
    for link in links:
        link.reap(max(deadline_s - monotonic(), 0.0))


def exit_text(code: int) -> str:
    """An exit code for people: ``signal 11, SIGSEGV`` or ``exit code 1``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    hint = ": killed, by a person or for lack of memory" if name == "SIGKILL" else ""
    return f"signal {-code}, {name}{hint}"
