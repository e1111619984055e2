"""Samples that this process has just decoded, and what it made of them: another process has to make the same."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aioloader.engine.decoding import produce
from aioloader.engine.step import Item
from aioloader.redact import shown_key
from aioloader.tree import flatten

if TYPE_CHECKING:
    from aioloader.engine.decoding import Recipe
    from aioloader.types import SampleRef, Tree

Digests = dict[str, str]
"""By a field's path, of its dtype, shape and bytes."""

MOST: Final = 4
MOST_BYTES: Final = 8_000_000
"""Of all their bodies together; the first may have `LARGEST_BYTES` alone."""
LARGEST_BYTES: Final = 64_000_000
_PATIENCE_S: Final = 5.0
"""Seconds in which fewer than `MOST` will do."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One sample: what it was decoded from, and what it became, both times."""

    epoch: int
    sample: SampleRef
    body: bytes
    first: Digests
    second: Digests
    error: str = ""
    """Why it could not be decoded once more."""


class Witnesses:
    """One loader's. Samples are taken by whoever has decoded them, only while they are wanted.

    They are decoded twice more, by the thread that decodes them anyway: a decoder that only one thread may call has
    no other caller for it.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        """Looked at for each sample, without a lock: whoever errs takes one more, or one less."""
        self.largest_bytes = 0
        """Of a body that was too large to be taken."""
        self._lock = threading.Lock()
        self._begun = 0
        self._begun_bytes = 0
        self._taken: list[Witness] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._some = asyncio.Event()
        self._all = asyncio.Event()

    # -- who wants them, on the loop -------------------------------------------------------------------------

    def begin(self) -> None:
        """Take those that are decoded from now on."""
        with self._lock:
            self._begun = self._begun_bytes = self.largest_bytes = 0
            self._taken = []
            self._loop = asyncio.get_running_loop()
            self._some, self._all = asyncio.Event(), asyncio.Event()
            self.is_wanted = True

    async def wait(self) -> list[Witness]:
        """Those that were taken: `MOST` of them, or as many as came in time; for ever while nothing is decoded.

        Not one where all that came are too large.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._all.wait()
        await self._some.wait()
        with self._lock:
            return list(self._taken)

    def end(self) -> None:
        """Take no more, and keep none."""
        with self._lock:
            self.is_wanted = False
            self._taken = []
            self._loop = None

    # -- who decodes -----------------------------------------------------------------------------------------

    async def decode_again(self, recipe: Recipe, item: Item) -> None:
        """For coroutines, before the body is let go: what it becomes waits for `take` in the item."""
        if not self._reserve(len(item.body)):
            return
        body, sample = item.body, item.sample
        results: list[Tree] = []
        error = ""
        try:
            for _ in range(2):
                rng = recipe.rng(item.epoch, sample.index)
                results.append(await recipe.decoder.decode_async(body, sample, rng))
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # it was decoded once: no sample fails for being looked at
            error = error_text(exc, sample)
        item.again = body, results, error

    def take(self, recipe: Recipe, item: Item) -> None:
        """It was decoded. Never raises."""
        body, results, error = item.body, [None, None], ""
        if item.again is not None:
            (body, results, error), item.again = item.again, None
        elif recipe.decoder.is_async or not self._reserve(len(body)):
            return
        digests: list[Digests] = [{}, {}]
        try:
            if not error:
                digests = [digests_of(recipe, item.epoch, item.sample, body, result) for result in results]
        except BaseException as exc:  # as above
            error = error_text(exc, item.sample)
        self._keep(Witness(item.epoch, item.sample, body, digests[0], digests[1], error))

    def _reserve(self, nbytes: int) -> bool:
        with self._lock:
            if not self.is_wanted:
                return False
            if nbytes > LARGEST_BYTES:
                self.largest_bytes = max(self.largest_bytes, nbytes)
                self._tell(self._some)
                return False
            if self._begun and self._begun_bytes + nbytes > MOST_BYTES:
                return False
            self._begun += 1
            self._begun_bytes += nbytes
            if self._begun == MOST:
                self.is_wanted = False
            return True

    def _keep(self, witness: Witness) -> None:
        with self._lock:
            if self._loop is not None:
                self._taken.append(witness)
                self._tell(self._some, *[self._all] * (len(self._taken) == MOST))

    def _tell(self, *events: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            for event in events:
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(event.set)


def digests_of(recipe: Recipe, epoch: int, sample: SampleRef, body: bytes, decoded: Any = None) -> Digests:
    """What the sample becomes, wherever that is; ``decoded`` is what an async decoder returned. Raises what user code
    raises."""
    item = Item(0, epoch, 0, sample, body, 0)
    item.decoded = decoded
    produce(recipe, item)
    return {path: _digest(leaf) for path, leaf in flatten(item.decoded)}


def _digest(leaf: Any) -> str:
    if isinstance(leaf, str):
        return "text " + hashlib.blake2b(leaf.encode(), digest_size=16).hexdigest()
    array = np.asarray(leaf)
    content = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
    return f"{array.dtype.str} {array.shape} {content}"


def error_text(exc: BaseException, sample: SampleRef) -> str:
    """For people."""
    return f"{type(exc).__name__}: {exc}".replace(sample.key, shown_key(sample.key))
