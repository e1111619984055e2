"""A worker process decodes what this process has decoded: it has to be the same, to the byte."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aioloader.engine.processes.facts import pack_sample, unpack_sample
from aioloader.engine.processes.introduction import DEATHS, Introduction, NotIntroducedError
from aioloader.engine.processes.link import exit_text
from aioloader.engine.processes.wire import ToChild, ToParent, in_json
from aioloader.engine.witnesses import Digests, digests_of, error_text
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.engine.lanes import DecodeThreads
    from aioloader.engine.processes.link import Link
    from aioloader.engine.processes.recipe import ChildRecipe, PackedRecipe
    from aioloader.engine.witnesses import Witness

_HINT: Final = "set use_multiprocessing=True yourself if that is meant"


class Comparison(Introduction):
    """Of one loader's samples, by the first of the processes that have loaded its recipe. On the loop alone.

    `wait` raises `NotIntroducedError` where something else came of them there, or they cannot be compared.
    """

    def __init__(self, recipe: PackedRecipe, witnesses: Sequence[Witness], links: Callable[[], Sequence[Link]]) -> None:
        super().__init__(recipe, 1, links)
        self._witnesses = witnesses
        self._asked: Link | None = None

    async def wait(self, patience_s: float) -> None:
        """See above; also where there is no answer within ``patience_s``: the process is ended then."""
        try:
            async with asyncio.timeout(patience_s):
                await self._done
        except TimeoutError:
            if self._asked is not None:
                self._asked.kill("its decoder did not return")
            raise NotIntroducedError(
                f"your decoder did not get through {len(self._witnesses)} samples in a worker process "
                f"within {patience_s:g} s"
            ) from None

    def _are_ready(self, links: Sequence[Link]) -> None:
        if self._asked is None:
            self._asked = links[0]
            rows = [(witness.epoch, pack_sample(witness.sample), witness.body) for witness in self._witnesses]
            self._asked.send(ToChild.COMPARE, (self._recipe.number, rows))

    def on_compared(self, link: Link, facts: dict[str, Any]) -> None:
        """What came of them there, as far as it went."""
        if link is not self._asked or int(facts["recipe"]) != self._recipe.number:
            return
        rows = [{str(path): str(digest) for path, digest in row.items()} for row in facts["digests"]]
        error = str(facts["error"])
        for place, witness in enumerate(self._witnesses):
            reason = _difference(witness, rows[place]) if place < len(rows) else _failure(witness, error)
            if reason:
                self.fail(reason)
                return
        self._end(None)

    def on_death(self, link: Link, code: int) -> None:
        """Its decoder may have done that, or anyone: another process is asked."""
        if link is not self._asked:
            super().on_death(link, code)
            return
        self._asked = None
        self._deaths += 1
        if self._deaths >= DEATHS:
            self.fail(f"worker processes die in your decoder (the last with {exit_text(code)})")


def unfit(witnesses: Sequence[Witness], largest_bytes: int) -> str:
    """Why nothing can be compared with these, for people; "" where it can."""
    if not witnesses:
        return f"your samples are too large to be compared in a worker process ({largest_bytes / 1e6:,.0f} MB); {_HINT}"
    for witness in witnesses:
        if witness.error:
            return (
                f"your decoder fails where it decodes a sample once more ({witness.error}), so nothing can be compared"
            )
        if witness.first != witness.second:
            return "your decoder gives other arrays each time, which cannot be compared; " + _HINT
    return ""


def _difference(witness: Witness, there: Digests) -> str:
    here = witness.first
    if there == here:
        return ""
    paths = [*here, *(path for path in there if path not in here)]
    path = next(path for path in paths if here.get(path) != there.get(path))
    return (
        f"your decoder gives other arrays in a worker process for sample {shown_key(witness.sample.key)!r} "
        f"(field {path}): it depends on state that was set in this process; {_HINT}"
    )


def _failure(witness: Witness, error: str) -> str:
    return f"your decoder fails in a worker process for sample {shown_key(witness.sample.key)!r} ({error}); {_HINT}"


class Comparing:
    """In the child: a lane of its decode threads, for one recipe's samples."""

    def __init__(
        self, recipe: ChildRecipe, threads: DecodeThreads, rows: Sequence[tuple[int, tuple[Any, ...], bytes]]
    ) -> None:
        self._recipe = recipe
        self._threads = threads
        self._rows = [(epoch, unpack_sample(facts), body) for epoch, facts, body in rows]
        self._decoded: list[Any] = [None] * len(rows)
        self._digests: list[Digests] = []
        self._error = ""
        self._is_begun = False
        self._loop = asyncio.get_running_loop()
        self._is_over = asyncio.Event()

    async def run(self, number: int, send: Callable[[int, bytes], None]) -> None:
        """Decode them one after another, up to one that fails, and tell what came of them."""
        decoder = self._recipe.decoder
        if decoder.is_async:
            for place, (epoch, sample, body) in enumerate(self._rows):
                try:
                    rng = self._recipe.rng(epoch, sample.index)
                    self._decoded[place] = await decoder.decode_async(body, sample, rng)
                except BaseException as exc:  # as in a thread: told, whatever it is
                    self._error = error_text(exc, sample)
                    del self._rows[place:]
                    break
        self._threads.add(self, 1)
        self._threads.announce(1)
        await self._is_over.wait()
        self._threads.remove(self)
        send(ToParent.COMPARED, in_json({"recipe": number, "digests": self._digests, "error": self._error}))

    def work(self) -> bool:
        """All of them, once; in a decode thread."""
        if self._is_begun:
            return False
        self._is_begun = True  # it is the only thread
        for (epoch, sample, body), decoded in zip(self._rows, self._decoded, strict=False):
            try:
                self._digests.append(digests_of(self._recipe, epoch, sample, body, decoded))
            except BaseException as exc:
                self._error = error_text(exc, sample)
                break
        self._loop.call_soon_threadsafe(self._is_over.set)
        return True
