"""Memory of one body that serves for the next, instead of going back to the system and coming again page by page."""

from __future__ import annotations

from functools import cache
from typing import Final

BAIT_BYTES: Final = 16 << 20


@cache
def keep_freed_memory() -> None:
    """Make glibc's malloc keep up to twice `BAIT_BYTES` of freed memory; elsewhere, and the second time, nothing.

    By default it gives back what exceeds 128 KiB at the heap's end, which a few bodies of 64 KiB do again and again:
    then a GET costs 12 to 17 page faults, 25 us of CPU, on top of its 20 to 55 (docs/notes/http-transport.md). Whoever
    allocates and frees a large array raises that limit in passing (mallopt(3), M_MMAP_THRESHOLD); this does so on
    purpose, without touching the array's pages. A limit set by the environment (MALLOC_TRIM_THRESHOLD_) stays.
    """
    bytes(BAIT_BYTES)
