"""A worker process after its start: one event loop that does what its parent says, until the parent is gone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pickle
import resource
import socket
import sys
import threading
import traceback
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from aioloader.batch.arena import Arena
from aioloader.engine.budget import Budget
from aioloader.engine.lanes import DecodeThreads
from aioloader.engine.processes.board import Board
from aioloader.engine.processes.comparison import Comparing
from aioloader.engine.processes.facts import unpack_sample
from aioloader.engine.processes.recipe import ChildRecipe
from aioloader.engine.processes.share import RECORDED_EVERY_S, Share
from aioloader.engine.processes.wire import Frames, ToChild, ToParent, in_json
from aioloader.engine.worker import Worker
from aioloader.monitor.lag import LoopLag
from aioloader.monitor.recorder import Recorder
from aioloader.monitor.stats import Counters
from aioloader.runtime.cpu import ThreadClock
from aioloader.runtime.loop_thread import new_loop
from aioloader.storage.cache.store import tell_cache_counts
from aioloader.storage.policies.origin_state import all_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aioloader.engine.budget import Account
    from aioloader.monitor.histogram import LatencyHistogram

_M_ARENA_MAX = -8

_SWITCH_INTERVAL_S = 0.001
"""A decoder that holds the GIL delays each turn of the loop by this much: 1 to 2 ms where CPython's 5 ms made 5 to 8,
for the same CPU a sample (docs/notes/engine.md)."""


class _Running:
    """A stream in this child."""

    def __init__(self, share: Share, worker: Worker, recipe: int, requests: Account, bodies: Account) -> None:
        self.requests = requests
        self.bodies = bodies
        self.share = share
        self.worker = worker
        self.recipe = recipe
        self.task: asyncio.Task[None] | None = None


class Child:
    """What this process knows: recipes by number, streams by number, its share of the budgets."""

    def __init__(self, descriptors: socket.socket, board: Board) -> None:
        self._descriptors = descriptors
        self._board = board
        self._loop_thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._frames: Frames | None = None
        self._recipes: dict[int, ChildRecipe] = {}
        self._streams: dict[int, _Running] = {}
        self._threads = DecodeThreads()
        self._bodies = Budget(1)
        self._origins: dict[str, Budget] = {}
        self._lag = LoopLag(self._tell_board)
        self._clock = ThreadClock()
        tell_cache_counts(board.write_cache)
        self._handlers: dict[int, Callable[[Any], None]] = {
            ToChild.LIMITS: self._limits,
            ToChild.JOB: self._job,
            ToChild.FIELDS: self._fields,
            ToChild.STREAM: self._stream,
            ToChild.RUN: self._run,
            ToChild.PLACES: self._places,
            ToChild.SLAB: self._slab,
            ToChild.PROBE: self._probe,
            ToChild.END: self._end,
            ToChild.FORGET: self._forget,
            ToChild.COMPARE: self._compare,
        }

    def _tell_board(self, lag: LatencyHistogram) -> None:
        self._board.write_lag(lag)
        self._board.write_counts(all_counts())
        is_blocked = any(running.worker.is_blocked for running in self._streams.values())
        self._board.write_work(self._clock.seconds(), self._threads.cpu_s, is_blocked=is_blocked)

    async def serve(self, channel: socket.socket) -> None:
        """Begin to listen; returns at once."""
        channel.setblocking(False)
        _, self._frames = await self._loop.connect_accepted_socket(lambda: Frames(self._on_frame, leave), channel)
        self.send(ToParent.UP, in_json({"pid": os.getpid()}))

    def send(self, kind: int, payload: bytes) -> None:
        """From any thread."""
        if threading.get_ident() == self._loop_thread:
            if self._frames is not None:
                self._frames.send(kind, payload)
        else:
            self._loop.call_soon_threadsafe(self.send, kind, payload)

    def _on_frame(self, kind: int, payload: bytes) -> None:
        try:
            self._handlers[kind](pickle.loads(payload))
        except BaseException:  # a defect of ours; the parent sees the death and this text
            traceback.print_exc()
            leave(70)

    # -- loaders ---------------------------------------------------------------------------------------------

    def _job(self, message: tuple[int, bytes, int]) -> None:
        number, payload, seed = message
        started = monotonic()
        before = set(sys.modules)
        try:
            self._recipes[number] = ChildRecipe(payload, seed)
        except BaseException as exc:
            text = "".join(traceback.format_exception(exc)).rstrip()
            facts = {"recipe": number, "error": f"{type(exc).__name__}: {exc}", "traceback": text}
            self.send(ToParent.UNLOADABLE, in_json(facts))
            return
        heavy = sorted({"tensorflow", "torch", "jax"} & (set(sys.modules) - before))
        self.send(
            ToParent.UP,
            in_json(
                {
                    "pid": os.getpid(),
                    "recipe": number,
                    "loaded_s": monotonic() - started,
                    "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                    "heavy": heavy,
                }
            ),
        )

    def _fields(self, message: dict[str, Any]) -> None:
        _, descriptors, _, _ = socket.recv_fds(self._descriptors, 1, 1)  # sent before the frame was
        recipe = self._recipes.get(message["recipe"])
        arena = Arena(message["layout"], message["slabs"], descriptors[0])
        arena.close()  # the mapping is enough
        if recipe is None:
            return  # it could not be loaded
        recipe.workspace.know(
            arena,
            is_declared=message["is_declared"],
            first_key=message["first_key"],
            decoder_fills_all=message["decoder_fills_all"],
        )
        for running in self._streams.values():
            if running.recipe == message["recipe"]:
                running.share.know_fields()
                running.worker.announce(1)

    def _compare(self, message: tuple[int, list[tuple[int, tuple[Any, ...], bytes]]]) -> None:
        number, rows = message
        recipe = self._recipes.get(number)
        if recipe is not None:
            self._spawn(Comparing(recipe, self._threads, rows).run(number, self.send))

    def _forget(self, number: int) -> None:
        recipe = self._recipes.pop(number, None)
        if recipe is not None:
            self._spawn(_close(recipe))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    # -- streams ---------------------------------------------------------------------------------------------

    def _limits(self, message: dict[str, Any]) -> None:
        self._bodies.resize(message["body_bytes"])
        for origin, requests in message["origins"].items():
            self._origin(origin).resize(requests)
        for number, requests in message["streams"].items():
            running = self._streams.get(number)
            if running is not None:
                running.requests.set_limit(requests)
                running.worker.set_concurrency(requests)
                running.worker.go_on()
        for number, nbytes in message["bodies"].items():
            running = self._streams.get(number)
            if running is not None:
                running.bodies.set_limit(nbytes)

    def _origin(self, origin: str) -> Budget:
        return self._origins.setdefault(origin, Budget(1))

    def _stream(self, message: dict[str, Any]) -> None:
        recipe = self._recipes.get(message["recipe"])
        if recipe is None:
            return
        counters = Counters(recorder=Recorder(RECORDED_EVERY_S))
        number, origin = message["stream"], recipe.store.origin
        share = Share(
            number, recipe, self._board, counters, self.send, self._loop.call_soon_threadsafe, message["probe"]
        )
        bodies, requests = self._bodies.open(message["body_limit"]), self._origin(origin).open(message["requests"])
        worker = Worker(
            share,
            recipe,
            recipe.store,
            concurrency=message["requests"],
            workers=1,
            threads=self._threads,
            bodies=bodies,
            body_bytes=message["body_limit"] or self._bodies.capacity,
            requests=requests,
            counters=counters,
            post=self._loop.call_soon_threadsafe,
            is_ending=lambda: False,
            may_read_now=message["is_strict"],  # else each sample's slot is asked for: one at a time would wait
        )
        running = _Running(share, worker, message["recipe"], requests, bodies)
        self._streams[number] = running
        if not worker.is_inline:
            self._threads.add(worker, 1)
        share.on_idle = partial(self._loop.call_soon_threadsafe, self._maybe_ended, number)
        running.task = self._loop.create_task(worker.run())

        def finish(_: asyncio.Task[None]) -> None:
            self._threads.remove(worker)
            share.close()
            bodies.close()
            requests.close()
            self._maybe_ended(number)

        running.task.add_done_callback(finish)
        self._lag.start()

    def _run(self, message: tuple[int, list[tuple[Any, ...]], dict[int, int], bool]) -> None:
        number, rows, slabs, is_rescue = message
        running = self._streams.get(number)
        if running is None:
            return
        for index, slab in slabs.items():
            running.worker.rescue(running.share.open_slab(index, slab))
        given = [
            (ticket, epoch, position, unpack_sample(facts), place) for ticket, epoch, position, facts, place in rows
        ]
        running.worker.rescue(running.share.give(given, is_rescue=is_rescue))
        running.worker.go_on()

    def _places(self, message: tuple[int, list[tuple[int, int, int]]]) -> None:
        number, places = message
        running = self._streams.get(number)
        if running is not None and not running.share.closed:
            running.share.place(places)
            running.worker.announce(len(places))

    def _slab(self, message: tuple[int, int, int]) -> None:
        number, index, slab = message
        running = self._streams.get(number)
        if running is not None:
            running.worker.rescue(running.share.open_slab(index, slab))
            running.worker.announce(1)

    def _probe(self, message: tuple[int, int]) -> None:
        number, ticket = message
        running = self._streams.get(number)
        if running is not None:
            running.worker.rescue(running.share.probe(ticket))
            running.worker.announce(1)

    def _end(self, number: int) -> None:
        running = self._streams.get(number)
        if running is None or running.task is None:
            self.send(ToParent.ENDED, in_json({"stream": number}))
            return
        running.share.close()
        running.task.cancel()

    def _maybe_ended(self, number: int) -> None:
        running = self._streams.get(number)
        if running is not None and running.task is not None and running.task.done() and running.share.is_idle:
            del self._streams[number]
            self.send(ToParent.ENDED, in_json({"stream": number}))
            if not self._streams:
                self._lag.stop()


_tasks: set[asyncio.Task[None]] = set()


async def _close(recipe: ChildRecipe) -> None:
    with contextlib.suppress(Exception):  # there is nobody to tell
        await recipe.store.aclose()


def leave(status: int = 0) -> None:
    """End this process now: a decoder that still runs must not keep it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _use_one_heap() -> None:
    """Bodies are allocated in one thread and freed in another: glibc's heap for each thread would keep what is freed.

    Peak of two children with 15 MB for bodies: 47 MB with one heap, 57 to 64 with one a thread; the same CPU a sample.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def serve(channel: socket.socket, descriptors: socket.socket, board_descriptor: int) -> None:
    """Serve the parent at the other end of ``channel``; returns never."""
    _use_one_heap()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    board = Board(board_descriptor)

    async def begin() -> None:
        await Child(descriptors, board).serve(channel)

    loop.run_until_complete(begin())
    loop.run_forever()
