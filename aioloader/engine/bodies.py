"""How many bytes a body takes: expected before it is fetched, checked after."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioloader.errors import ObjectChangedError, TruncatedBodyError
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from aioloader.types import SampleRef

FIRST_UNKNOWN = 8
"""How many bodies of unknown size may be in flight until one has been seen."""


class BodySizes:
    """What to reserve for each body of one stream. Sizes nobody listed count as the largest seen so far.

    Until one was seen only `FIRST_UNKNOWN` of them are asked for, each counting as its share of ``budget_bytes``.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._first_guess_bytes = budget_bytes // FIRST_UNKNOWN
        self._largest_bytes: int | None = None
        self._unknown = 0
        self._one_was_seen = asyncio.Event()

    def known(self, sample: SampleRef) -> int | None:
        """Bytes: the range's length, the listed size, or the largest seen; None before one was seen."""
        if sample.byte_range is not None:
            return sample.byte_range[1] - sample.byte_range[0]
        return self._largest_bytes if sample.size_bytes is None else sample.size_bytes

    async def expected(self, sample: SampleRef) -> int:
        """What is `known`, or the guess; waits where the guess would be blind."""
        known = self.known(sample)
        if known is not None:
            return known
        if not self._one_was_seen.is_set():
            self._unknown += 1
            if self._unknown > FIRST_UNKNOWN:
                await self._one_was_seen.wait()
        return self._first_guess_bytes if self._largest_bytes is None else self._largest_bytes

    def saw(self, nbytes: int | None) -> None:
        """A body of ``nbytes`` came, or (None) one failed: who waits for a size goes on."""
        if nbytes is not None:
            self._largest_bytes = max(self._largest_bytes or 0, nbytes)
        self._one_was_seen.set()


def check_length(sample: SampleRef, length: int) -> None:
    """Raise where the store gave another number of bytes than the dataset promises: never wrong data in silence."""
    if sample.byte_range is not None:
        wanted = sample.byte_range[1] - sample.byte_range[0]
        if length != wanted:
            raise TruncatedBodyError(
                f"the object ends after {length} of the range's {wanted} bytes",
                shown_key(sample.key),
                "Correct the manifest's offset and length.",
                sample.byte_range,
            )
    elif sample.size_bytes is not None and length != sample.size_bytes:
        raise ObjectChangedError(
            f"the object has {length} bytes, the listing said {sample.size_bytes}",
            shown_key(sample.key),
            "List the dataset again.",
        )
