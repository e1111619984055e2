"""A loader goes on with the other kind of workers, or with another number of processes, without losing its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from aioloader.engine.processes.introduction import NotIntroducedError
from aioloader.engine.processes.recipe import PackedRecipe
from aioloader.engine.pulse import CLOSED, NOT_OVER
from aioloader.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.session import Session

Kind = Literal["threads", "processes"]

START_S: Final = 60.0
"""Seconds that worker processes may take to start and to load the user's code; meanwhile threads work on."""


class HandOver:
    """One session's, at most one at a time, on the loop alone.

    Processes are started and have loaded the user's code first, and where it was not the user who asked for them, they
    have made the same of a few samples; then the running stream begins no more steps, and one of the other kind goes
    on. Where that cannot be, all stays as it is.
    """

    def __init__(self, session: Session) -> None:
        self.on_switched: Callable[[Kind, int], object] = lambda kind, workers: None
        """Called with the kind and number of workers that go on from now."""
        self.on_refused: Callable[[str], object] = lambda reason: None
        """Called with why it goes on as before, for people."""
        self.is_under_way = False
        """From `begin` until it is refused, or the former workers and their memory are let go."""
        self._session = session
        self._wanted: tuple[bool, int] | None = None  # once it may be done

    def begin(self, *, use_multiprocessing: bool, workers: int) -> None:
        """Go over to so many workers of that kind as soon as it can be. Never raises, never waits."""
        options = self._session.job.options
        if self._session.is_ending:
            self.on_refused(CLOSED)
        elif self.is_under_way:
            self.on_refused(NOT_OVER)
        elif not use_multiprocessing and not options.use_multiprocessing:
            self._session.set_workers(workers)
            self.on_switched("threads", workers)
        elif use_multiprocessing and options.use_multiprocessing and options.workers == workers:
            self.on_switched("processes", workers)
        else:
            self.is_under_way = True
            self._session.stay_near(is_near=True)
            if use_multiprocessing:
                self._session.holdings.spawn(self._prepare(workers), ends_early=True)
            else:
                self._wanted = False, workers
                self.try_now()

    async def _prepare(self, workers: int) -> None:
        job = self._session.job
        witnesses = job.witnesses if job.kind_is_open and not job.options.use_multiprocessing else None
        if witnesses is not None:
            witnesses.begin()
        try:
            await self._session.holdings.introduce(lambda: PackedRecipe(job), workers, START_S, witnesses)
        except OptionError as exc:
            what = "your decoder" if exc.option == "decode" else f"{exc.option}="
            self._refuse(f"{what} cannot be pickled ({type(exc.__cause__).__name__}: {exc.__cause__})")
        except NotIntroducedError as exc:
            self._refuse(str(exc))
        except asyncio.CancelledError:
            self._refuse(CLOSED)
            raise
        except Exception as exc:  # a defect, or no descriptors left: going on as before is never wrong
            self._refuse(f"{type(exc).__name__}: {exc}")
        else:
            self._wanted = True, workers
            self.try_now()
        finally:
            if witnesses is not None:
                witnesses.end()

    def _refuse(self, reason: str) -> None:
        self.is_under_way = False
        self._wanted = None
        self._session.stay_near(is_near=False)
        self.on_refused(reason)

    @property
    def waits(self) -> bool:
        """Whether all is ready but the stream cannot be handed over yet."""
        return self._wanted is not None

    def try_now(self) -> None:
        """Hand over, if that is wanted and possible now."""
        if self._wanted is None:
            return
        if self._session.is_ending:
            self._refuse(CLOSED)
            return
        use_multiprocessing, workers = self._wanted
        try:
            if not self._session.go_on_with(use_multiprocessing, workers, self._finish):
                return
        except Exception as exc:  # no memory for the slabs
            self._refuse(f"{type(exc).__name__}: {exc}")
            return
        self._wanted = None
        self.on_switched("processes" if use_multiprocessing else "threads", workers)

    def _finish(self) -> None:
        self.is_under_way = False
