"""The rest of a body that broke off, joined to what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import ObjectChangedError, RangeNotHonouredError, StoreError
from aioloader.types import Partial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aioloader.types import ByteRange


async def rest_of(partial: Partial, fetch: Callable[[ByteRange], Awaitable[bytes]], shown: str) -> bytes:
    """The whole answer of which ``partial`` came; ``fetch`` gives a range of the very same object.

    Raises `StoreError`, with more of the body in its ``partial`` where more came.
    """
    begin = partial.first + len(partial.body)
    try:
        rest = await fetch((begin, partial.stop))
    except RangeNotHonouredError as exc:
        exc.is_transient = True  # it gives whole objects only: the next try begins anew
        raise
    except StoreError as exc:
        if isinstance(exc.partial, Partial):
            exc.partial = Partial(partial.body + exc.partial.body, partial.first, partial.stop, partial.etag)
        elif exc.is_transient:
            exc.partial = partial
        raise
    if begin + len(rest) != partial.stop:
        raise ObjectChangedError(
            f"the object ended at byte {begin + len(rest)}, before it had {partial.stop}",
            shown,
            "List the dataset again.",
        )
    return partial.body + rest
