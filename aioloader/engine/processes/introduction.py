"""Worker processes load a loader's code before they are needed: then going over to them takes no time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aioloader.engine.processes.link import exit_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.engine.processes.link import Link
    from aioloader.engine.processes.recipe import PackedRecipe

DEATHS: Final = 3
"""Deaths while loading after which nobody tries again: one SIGKILL may come from anyone."""


class NotIntroducedError(Exception):
    """Processes cannot work for this loader; the text says why, for people."""


class Introduction:
    """One loader's, of the first ``workers`` processes. The pool tells it what they say; on the loop alone."""

    def __init__(self, recipe: PackedRecipe, workers: int, links: Callable[[], Sequence[Link]]) -> None:
        self._recipe = recipe
        self._workers = workers
        self._links = links
        self._deaths = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, patience_s: float) -> None:
        """Until all know it. Raises `NotIntroducedError` where they never will, or not within ``patience_s``."""
        try:
            async with asyncio.timeout(patience_s):
                await self._done
        except TimeoutError:
            up = sum(link.is_up for link in self._links())
            raise NotIntroducedError(
                f"worker processes did not start within {patience_s:g} s: {up} of {self._workers} are up"
            ) from None

    def look(self) -> None:
        """Teach those that are up; it is done when all have loaded it."""
        links = [link for link in self._links()[: self._workers] if link.is_up]
        for link in links:
            link.teach(self._recipe)
        if len(links) == self._workers and all(self._recipe.number in link.loaded for link in links):
            self._are_ready(links)

    def _are_ready(self, links: Sequence[Link]) -> None:
        """All of ``links`` have loaded it."""
        self._end(None)

    def on_loaded(self, recipe: int, facts: dict[str, Any]) -> None:
        """A process has loaded a recipe."""
        if recipe == self._recipe.number and facts["heavy"]:
            names = ", ".join(map(str, facts["heavy"]))
            self.fail(
                f"your decoder imports {names} ({float(facts['loaded_s']):.1f} s and "
                f"{int(facts['rss_bytes']) / 1e6:,.0f} MB in each worker process)"
            )
        else:
            self.look()

    def on_unloadable(self, recipe: int, error: str) -> None:
        """A process cannot load it."""
        if recipe == self._recipe.number:
            self.fail(f"your decoder cannot be loaded in a worker process ({error})")

    def on_death(self, link: Link, code: int) -> None:
        """Another process comes in its place."""
        if self._recipe.number in link.recipes and self._recipe.number not in link.loaded:
            self._deaths += 1
            if self._deaths >= DEATHS:
                self.fail(f"worker processes die while they load your decoder (the last with {exit_text(code)})")

    def on_compared(self, link: Link, facts: dict[str, Any]) -> None:
        """A process has decoded samples for `Comparison`."""

    def fail(self, reason: str) -> None:
        """It will not be."""
        self._end(NotIntroducedError(reason))

    def _end(self, error: NotIntroducedError | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)
