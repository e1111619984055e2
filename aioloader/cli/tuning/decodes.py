"""What a decode takes on one thread, and what two threads make of it."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import asdict, dataclass
from itertools import cycle
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aioloader.errors import AioloaderError
from aioloader.redact import shown_key
from aioloader.tree import as_fields, flatten, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.cli.decode_option import Decoding
    from aioloader.cli.tuning.requests import Fetched
    from aioloader.types import FieldSpec

_TURNS: Final = 3
_HASHED: Final = bytes(256 * 1024)
_NEARLY: Final = 0.85
"""Of what the machine gives two threads: less, and something in the decoder keeps them from it."""


@dataclass(frozen=True, kw_only=True)
class Decodes:
    """``sample_s`` is one sample's on one thread, ``batch_bytes`` what a batch takes, ``failed`` how many failed.

    ``scaling`` is what two threads do of one thread's work in the same time, ``scaling_without_gil`` what they do of
    work that needs no GIL on the machine as it is now; None with one core.
    """

    sample_s: float
    batch_bytes: int
    failed: int = 0
    scaling: float | None = None
    scaling_without_gil: float | None = None

    @property
    def gil_share(self) -> float | None:
        """Of a decode, the share that holds the GIL: 1 / scaling, by the utilisation law. None where two threads do
        nearly what the machine gives, and nothing can be told."""
        if self.scaling is None or self.scaling_without_gil is None:
            return None
        return min(1 / self.scaling, 1.0) if self.scaling < _NEARLY * self.scaling_without_gil else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "gil_share": self.gil_share}


class _Work:
    """Decodes what was fetched, again and again, in any thread."""

    def __init__(self, made: Decoding, text: str, fetched: Sequence[Fetched]) -> None:
        self._made = made
        self._fetched = fetched
        self.bad: set[int] = set()
        first = fetched[0]
        key = shown_key(first.sample.key)
        try:
            self.first = self._decoded(first)
        except Exception as exc:
            said = str(exc) if isinstance(exc, AioloaderError) else f"{type(exc).__name__}: {exc}"
            raise AioloaderError(
                f"the decoder {text} fails on the first sample, {key}: {said.replace(first.sample.key, key)}"
            ) from exc

    def _decoded(self, one: Fetched) -> Any:
        bound = self._made.bound
        rng = np.random.default_rng(0) if bound.needs_rng else None
        return as_fields(bound.decode(one.body, one.sample, rng), key=shown_key(one.sample.key))

    def batch_bytes(self, batch_size: int) -> int:
        """Of all fields that the decoder gives; raises `DecodeError` for what no batch can hold."""
        declared = self._made.spec or self._made.bound.spec()
        spec = spec_of(self.first) if declared is None else declared
        leaves: list[FieldSpec] = [leaf for _, leaf in flatten(spec)]
        return batch_size * sum(leaf.nbytes for leaf in leaves)

    def repeat(self, until_s: float) -> int:
        """How many were decoded until then, at least one. What fails is left out from then on."""
        count = 0
        for place, one in cycle(enumerate(self._fetched)):
            if place not in self.bad:
                try:
                    self._decoded(one)
                    count += 1
                except Exception:  # the user's, of whatever kind; the loader skips such samples too
                    self.bad.add(place)
            if (count and perf_counter() >= until_s) or len(self.bad) == len(self._fetched):
                break
        return max(count, 1)


def decode_singly(
    made: Decoding,
    text: str,
    fetched: Sequence[Fetched],
    *,
    batch_size: int,
    cores: int,
    seconds: float,
    tick: Callable[[], None],
) -> Decodes:
    """Decode for about ``seconds``. Raises `AioloaderError` naming the decoder where the first sample's fails."""
    work = _Work(made, text, fetched)
    batch_bytes = work.batch_bytes(batch_size)
    each_s = seconds / _TURNS / (4 if cores > 1 else 1)
    ones: list[float] = []
    scalings: list[float] = []
    without_gil: list[float] = []
    for _ in range(_TURNS):
        ones.append(_rate(work.repeat, 1, each_s))
        tick()
        if cores > 1:
            scalings.append(_rate(work.repeat, 2, each_s) / ones[-1])
            without_gil.append(_rate(_hash, 2, each_s) / _rate(_hash, 1, each_s))
            tick()
    return Decodes(
        sample_s=1 / median(ones),
        batch_bytes=batch_bytes,
        failed=len(work.bad),
        scaling=median(scalings) if scalings else None,
        scaling_without_gil=median(without_gil) if without_gil else None,
    )


def _hash(until_s: float) -> int:
    count = 0
    while not count or perf_counter() < until_s:
        hashlib.sha256(_HASHED)
        count += 1
    return count


def _rate(repeat: Callable[[float], int], threads: int, seconds: float) -> float:
    """Calls a second of that many threads together."""
    begun = perf_counter()
    counts = [0] * threads

    def run(place: int) -> None:
        counts[place] = repeat(begun + seconds)

    others = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(1, threads)]
    for thread in others:
        thread.start()
    run(0)
    for thread in others:
        thread.join()
    return sum(counts) / (perf_counter() - begun)
