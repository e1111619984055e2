"""What worker processes must know of one stream before they work for it, and while they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.engine.processes.wire import ToChild

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioloader.engine.elsewhere import ElsewhereState
    from aioloader.engine.job import Job
    from aioloader.engine.processes.link import Link
    from aioloader.engine.processes.recipe import PackedRecipe


class Briefing:
    """One stream's, on the loop: each process hears once of the recipe, the fields, the stream and each open slab."""

    def __init__(self, number: int, job: Job, state: ElsewhereState, recipe: PackedRecipe, *, is_strict: bool) -> None:
        self._number = number
        self._workspace = job.workspace
        self._state = state
        self._recipe = recipe
        self._is_strict = is_strict
        self._told_probe = 0
        self.open_slabs: dict[int, int] = {}
        """By step: the number of its slab."""

    def introduce(self, link: Link, *, requests: int, body_limit: int | None) -> None:
        """What the process must know before its first run."""
        link.teach(self._recipe)
        self.tell_fields(link)
        if self._number not in link.streams:
            link.streams.add(self._number)
            link.send(
                ToChild.STREAM,
                {
                    "stream": self._number,
                    "recipe": self._recipe.number,
                    "requests": requests,
                    "body_limit": body_limit,
                    "probe": self._state.probe_ticket,
                    "is_strict": self._is_strict,
                },
            )

    def tell_fields(self, link: Link) -> None:
        """The fields and the slabs of the loader, as soon as they are known."""
        workspace, number = self._workspace, self._recipe.number
        ring = workspace.ring
        if ring is not None and ring.arena is not None and link.fields.get(number) is not ring.arena:
            facts = {
                "is_declared": workspace.is_declared,
                "first_key": workspace.first_key,
                "decoder_fills_all": workspace.decoder_fills_all,
            }
            link.send_fields(number, ring.arena, facts)

    def tell_slabs(self, links: Iterable[Link]) -> None:
        """Slabs for the steps that may be filled now."""
        links = [link for link in links if self._number in link.streams]
        for index in self._state.open_indices:
            if index in self.open_slabs:
                continue
            slab = self._state.open_slab(index)
            if slab is not None:
                self.open_slabs[index] = slab.number
                for link in links:
                    link.send(ToChild.SLAB, (self._number, index, slab.number))
        for index in [old for old in self.open_slabs if old < self._state.open_indices.start]:
            del self.open_slabs[index]

    def tell_probe(self, links: Iterable[Link]) -> None:
        """Which sample is to set the fields, where it is another one than before."""
        if self._state.probe_ticket != self._told_probe:
            self._told_probe = self._state.probe_ticket
            for link in links:
                if self._number in link.streams:
                    link.send(ToChild.PROBE, (self._number, self._told_probe))
