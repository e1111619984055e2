"""What a server can do wrong, and how it is drawn from a seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS: Final = (
    "reset", "cut", "stall", "drip", "silent", "slow header", "no length", "chunks cut", "two lengths", "extra bytes",
    "flip", "gzip", "huge", "endless", "changed", "ignored etag", "ignored range", "wrong range", "wider range",
    "short range", "short range cut", "multipart", "unsatisfied", "redirect loop", "expired", "throttle", "status",
)  # fmt: skip
"""What a `Fault` can be:

``reset`` and ``cut`` end the connection after ``at_bytes`` of the body, the first by RST; ``stall`` sends no more
after them, ``drip`` one byte a second. ``silent`` never answers, ``slow header`` sends a byte of it a second. ``no
length`` announces none and ends with the connection half way, ``chunks cut`` sends chunks of which the last is
missing, ``two lengths`` announces two. ``extra bytes`` follow the body, ``flip`` changes one bit of it. ``gzip`` sends
a megabyte that unpacks to a gigabyte, ``huge`` announces 4 GiB, ``endless`` sends chunks until nobody reads them.
``changed`` replaces the object by another of the same length, for good, and ``ignored etag`` sends that one to who
asked for the former. ``ignored range`` sends the whole, ``wrong range`` another one than asked, ``wider range`` a byte
more, ``short range`` half of the one that its header names, which ``short range cut`` ends after ``at_bytes``,
``multipart`` two of them, ``unsatisfied`` is a 416.
``redirect loop`` leads to itself, ``expired`` is S3's 400 ExpiredToken. ``throttle`` is a 429 with ``retry_after_s``,
``status`` any other answer without an object.
"""

IN_A_ROW: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What one request meets; see `KINDS`."""

    kind: str
    at_bytes: int = 0
    status: int = 503
    retry_after_s: int | None = None


def drawn_fault(draw: random.Random, kinds: Sequence[str], nbytes: int) -> Fault:
    """One of ``kinds``, at any byte of the body: the first, second and last as likely as all others together."""
    places = (0, min(1, nbytes), max(nbytes - 1, 0), draw.randrange(max(nbytes, 1)))
    weights = (1, 1, 1, 3)
    at_bytes = draw.choices(places, weights)[0]
    return Fault(kind=draw.choice(kinds), at_bytes=at_bytes, status=draw.choice((500, 502, 503, 504)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFaults:
    """Of all requests ``share`` meet one of ``kinds``: which ones, ``seed`` decides, and never the order of arrival.

    After `IN_A_ROW` faults an object is given, so that a run of any length can be exact.
    """

    share: float
    kinds: tuple[str, ...]
    seed: int

    def of(self, key: str, number: int, nbytes: int) -> Fault | None:
        """What the ``number``-th request for ``key`` meets."""
        if number % (IN_A_ROW + 1) == IN_A_ROW:
            return None
        text = f"{self.seed} {number} {key}".encode("utf-8", "surrogateescape")
        draw = random.Random(hashlib.blake2b(text, digest_size=8).digest())
        return drawn_fault(draw, self.kinds, nbytes) if draw.random() < self.share else None


def random_faults(
    objects: Mapping[str, bytes], kinds: Sequence[str], *, share: float, seed: int, most: int = 3
) -> dict[str, list[Fault]]:
    """For about ``share`` of the objects one to ``most`` faults of ``kinds``, drawn from ``seed``."""
    draw = random.Random(seed)
    faults = {}
    for key in sorted(objects):
        if draw.random() < share:
            faults[key] = [drawn_fault(draw, kinds, len(objects[key])) for _ in range(draw.randint(1, most))]
    return faults
