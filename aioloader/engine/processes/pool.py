"""The worker processes of this process: shared by all its loaders, replaced when one dies, ended with the last."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import weakref
from typing import TYPE_CHECKING

from aioloader.engine.processes.comparison import Comparison
from aioloader.engine.processes.facts import unpack_breakdown, unpack_error, unpack_spec
from aioloader.engine.processes.introduction import Introduction
from aioloader.engine.processes.link import Link, exit_text, reap_all
from aioloader.engine.processes.pool_figures import PoolFigures
from aioloader.engine.processes.shares import shares
from aioloader.engine.processes.spans import unpack_spans
from aioloader.engine.processes.wire import Done, ToChild, ToParent, as_dict, unpack_arrived
from aioloader.errors import AioloaderError, OptionError, RemoteError, WorkersFailedError
from aioloader.runtime.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from aioloader.engine.processes.pool_stream import PoolStream
    from aioloader.engine.processes.recipe import PackedRecipe
    from aioloader.engine.witnesses import Witness

log = logging.getLogger(__name__)

_REAP_S = 1.0
_DEATHS_IN_A_ROW = 6
"""Deaths of workers, none finishing a sample in between, after which all streams end with an error; at least two of
each process there should be."""


class ProcessPool:
    """Used on the loop alone, and held by it as stores are: the last user's going closes it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.links: list[Link] = []
        self.is_closed = False
        self.figures = PoolFigures(self.links)
        self._wanted = 0
        self._streams: dict[int, PoolStream] = {}
        self._introductions: list[Introduction] = []
        self._threads = DaemonThreads("aioloader-spawn", max_threads=2)
        self._tasks: set[asyncio.Task[None]] = set()
        self._barren_deaths = 0
        _pools.add(self)

    # -- streams ---------------------------------------------------------------------------------------------

    def want(self, workers: int) -> None:
        """Have at least ``workers`` processes."""
        self._wanted = max(self._wanted, workers)
        while not self.is_closed and len(self.links) < self._wanted:
            self.links.append(self._begin())

    def _begin(self) -> Link:
        link = Link(self._on_frame, self._on_end)
        self._spawn_task(self._start(link))
        return link

    async def introduce(self, recipe: PackedRecipe, workers: int, patience_s: float) -> None:
        """Have at least ``workers`` processes that have loaded ``recipe``.

        Raises `NotIntroducedError` where they cannot, or import what takes seconds, or not within ``patience_s``.
        """
        if not self._streams:
            self._barren_deaths = 0
        await self._see_through(Introduction(recipe, workers, lambda: self.links), workers, patience_s)

    async def compare(self, recipe: PackedRecipe, witnesses: Sequence[Witness], patience_s: float) -> None:
        """Have one process decode what was decoded here. Raises `NotIntroducedError` where that gives something else,
        or cannot be said within ``patience_s``."""
        await self._see_through(Comparison(recipe, witnesses, lambda: self.links), 1, patience_s)

    async def _see_through(self, introduction: Introduction, workers: int, patience_s: float) -> None:
        self._introductions.append(introduction)
        try:
            self.want(workers)
            introduction.look()
            await introduction.wait(patience_s)
        finally:
            self._introductions.remove(introduction)

    def attach(self, stream: PoolStream) -> None:
        """Serve ``stream`` from now on."""
        if not self._streams:
            self._barren_deaths = 0
        self._streams[stream.number] = stream
        self.want(stream.workers)
        self.share_limits()

    def detach(self, stream: PoolStream) -> None:
        """It has ended everywhere."""
        self._streams.pop(stream.number, None)
        for link in self.links:
            link.streams.discard(stream.number)
            if link.outstanding.pop(stream.number, None):
                link.is_solo = False
            link.in_flight.pop(stream.number, None)
        if not self.is_closed:
            self.share_limits()  # its requests are the others'

    def forget(self, recipe: int) -> None:
        """A loader was closed: its store, decoder and slabs may go."""
        for link in self.links:
            link.forget(recipe)

    def in_flight_to(self, origin: str) -> int:
        """Requests in flight to ``origin``, of all streams: they share its bound."""
        return sum(stream.in_flight for stream in self._streams.values() if stream.origin == origin)

    def share_limits(self) -> None:
        """Each process hears of its share, those that are starting when they are up."""
        for link, limits in zip(self.links, shares(self._streams.values(), len(self.links)), strict=True):
            link.send(ToChild.LIMITS, limits)

    # -- what children say -----------------------------------------------------------------------------------

    def _on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        if link.killed_because:
            return
        try:
            self._handle(link, kind, payload)
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
            OverflowError,
            RecursionError,
            struct.error,
        ) as exc:
            log.warning("worker process %d sent what nobody understands (%s); it is replaced", link.pid, repr(exc))
            link.kill("it sent what nobody understands")
        except Exception as exc:  # no memory for slabs, or a defect of ours: not the process's fault
            error = exc if isinstance(exc, AioloaderError) else WorkersFailedError(f"{type(exc).__name__}: {exc}")
            error.__cause__ = None if error is exc else exc
            for stream in list(self._streams.values()):
                stream.break_with(error)

    def _handle(self, link: Link, kind: int, payload: bytes) -> None:
        if kind == ToParent.DONE:
            done = Done.unpack(payload)
            self._barren_deaths = 0
            stream = self._streams.get(done.stream)
            if stream is not None:
                stream.on_done(link, done)
        elif kind == ToParent.ARRIVED:
            number, tickets = unpack_arrived(payload)
            stream = self._streams.get(number)
            if stream is not None:
                stream.on_arrived(link, tickets)
        else:
            self._handle_json(link, kind, as_dict(payload))

    def _handle_json(self, link: Link, kind: int, facts: dict[str, Any]) -> None:
        if kind == ToParent.UP:
            self._on_up(link, facts)
            return
        if kind == ToParent.UNLOADABLE:
            self._on_unloadable(link, facts)
            return
        if kind == ToParent.COMPARED:
            for introduction in self._introductions:
                introduction.on_compared(link, facts)
            return
        stream = self._streams.get(int(facts["stream"]))
        if stream is None:
            return
        if kind == ToParent.FAILED:
            self._barren_deaths = 0
            stream.on_failed(link, int(facts["ticket"]), unpack_error(facts["error"]))
        elif kind == ToParent.SPEC:
            stream.on_spec(link, int(facts["ticket"]), unpack_spec(facts["spec"]), str(facts["key"]))
        elif kind == ToParent.SPANS:
            stream.on_spans(link, unpack_spans(facts["spans"], link.pid))
        elif kind == ToParent.BROKEN:
            stream.break_with(unpack_breakdown(facts))
        elif kind == ToParent.ENDED:
            stream.on_ended(link)
        else:
            raise ValueError(f"a frame of kind {kind}")

    def _on_up(self, link: Link, facts: dict[str, Any]) -> None:
        if "rss_bytes" in facts:  # it has loaded a recipe
            self.figures.has_loaded(facts)
            link.loaded.add(int(facts["recipe"]))
            for introduction in self._introductions:
                introduction.on_loaded(int(facts["recipe"]), facts)
            return
        link.is_up = True
        for introduction in self._introductions:
            introduction.look()
        self.figures.is_up(asyncio.get_running_loop().time() - link.started_at)
        self.share_limits()
        self.dispatch_all()

    def dispatch_all(self) -> None:
        """Have every stream give out what it may; suspects first, for only an idle process may have them."""
        for stream in sorted(self._streams.values(), key=lambda stream: not stream.has_suspects):
            stream.dispatch()

    def _on_unloadable(self, link: Link, facts: dict[str, Any]) -> None:
        link.recipes.discard(int(facts["recipe"]))  # the next stream tries again: the module may be there by then
        for introduction in self._introductions:
            introduction.on_unloadable(int(facts["recipe"]), str(facts["error"]))
        for stream in list(self._streams.values()):
            if stream.recipe_number == int(facts["recipe"]):
                error = OptionError(
                    "decode",
                    f"cannot be loaded in a worker process ({facts['error']})",
                    "functions that can be imported there too: install their package, keep them in the script "
                    "itself, or use_multiprocessing=False",
                )
                error.__cause__ = RemoteError(str(facts["traceback"]))
                stream.break_with(error)

    # -- births and deaths -----------------------------------------------------------------------------------

    def _spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, link: Link) -> None:
        try:
            await self._threads.run(link.spawn)
            if self.is_closed:
                link.kill("the pool was closed")
            await link.connect(asyncio.get_running_loop())
        except (WorkersFailedError, OSError) as exc:
            error = exc if isinstance(exc, WorkersFailedError) else WorkersFailedError(f"no worker process: {exc}")
            self.links.remove(link)
            await self._threads.run(link.reap, 0.0)
            link.close()
            for introduction in self._introductions:
                introduction.fail(f"worker processes did not start: {error}")
            for stream in list(self._streams.values()):
                stream.break_with(error)

    def _on_end(self, link: Link) -> None:
        if link in self.links and not self.is_closed:
            link.is_up = False
            self._spawn_task(self._bury(link))

    async def _bury(self, link: Link) -> None:
        code = await self._threads.run(link.reap, _REAP_S)
        suspects = link.board.suspects()
        self.figures.has_ended(link)
        if link not in self.links:
            return
        link.close()
        if self.is_closed:
            self.links.remove(link)
            return
        self.figures.deaths += 1
        for introduction in self._introductions:
            introduction.on_death(link, code)
        if not any(number in self._streams for number, _ in suspects):  # else it leads to a sample's name
            self._barren_deaths += 1
        most = max(_DEATHS_IN_A_ROW, 2 * self._wanted)  # all killed at one moment are not a row
        if self._barren_deaths < most:
            self.links[self.links.index(link)] = self._begin()  # in its place, with its share
        else:  # none until the next stream: `attach`
            self.links.remove(link)
        log.warning(
            "worker process %d ended with %s%s; its samples are done again",
            link.pid,
            exit_text(code),
            f" ({link.killed_because})" if link.killed_because else "",
        )
        if self._barren_deaths >= most:
            error = WorkersFailedError(
                f"{self._barren_deaths} worker processes died one after another and none finished a sample; the last "
                f"ended with {exit_text(code)}. See what they printed, or use_multiprocessing=False."
            )
            for introduction in self._introductions:
                introduction.fail(f"worker processes did not start: {error}")
            for stream in list(self._streams.values()):
                stream.break_with(error)
        for stream in list(self._streams.values()):
            mine = [ticket for number, ticket in suspects if number == stream.number]
            stream.on_death(link, mine, code)
        self.dispatch_all()

    def named_poison(self) -> None:
        """Deaths that led to a sample's name were no vain ones."""
        self._barren_deaths = 0

    # -- the end ---------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End every process and wait for it; idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)  # what is being started or buried
            for link in self.links:
                link.hang_up()
            await self._threads.run(reap_all, list(self.links), _REAP_S)
        finally:
            self.figures.all_have_ended(self.links)
            for link in self.links:
                link.close()
            self.links.clear()
            self._threads.close()


_pools: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        for link in pool.links:
            link.forget_in_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
