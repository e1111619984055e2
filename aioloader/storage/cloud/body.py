"""The body of an answer that obstore has begun: read in pieces, so that what came is there where it breaks off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aioloader.errors import BodyTooLargeError, RangeNotHonouredError, StoreError, TruncatedBodyError
from aioloader.storage.obstore.errors import translate
from aioloader.storage.pins import is_another, strong_etag
from aioloader.types import Partial

if TYPE_CHECKING:
    from aioloader.types import ByteRange

PIECE_BYTES: Final = 65_536
"""Each piece costs a hop between obstore's threads and the loop; what is smaller comes in one."""


async def body_of(
    answer: Any,
    shown: str,
    byte_range: ByteRange | None,
    max_object_bytes: int,
    etag: str | None = None,
    *,
    is_rest: bool = False,
) -> bytes:
    """All bytes of obstore's ``answer``, of the version ``etag`` where it is given. Raises `StoreError`.

    ``is_rest``: they are to be joined to what came before, so the answer must say that it is of the same object.
    """
    start, stop = answer.range
    found: str | None = answer.meta["e_tag"]
    if etag is not None and found and is_another(found, etag):
        from aioloader.storage.http.errors import changed  # aiohttp: 0.1 s that only a failure should take

        raise changed(shown, byte_range)
    if is_rest and strong_etag(found) != etag:
        raise RangeNotHonouredError(
            "the service does not say of which object the range is", shown, "A proxy weakens its ETag.", byte_range
        )
    if stop - start > max_object_bytes:
        reason = f"the object has {stop - start} bytes, max_object_bytes is {max_object_bytes}"
        raise BodyTooLargeError(reason, shown, "Raise it or leave the object out.", byte_range)
    parts: list[bytes] = []
    length = 0
    try:
        if stop - start <= PIECE_BYTES:
            body = bytes(await answer.bytes_async())
            length = len(body)
        else:
            pieces = aiter(answer.stream(min_chunk_size=PIECE_BYTES))
            while length < stop - start and (piece := await anext(pieces, None)) is not None:
                parts.append(bytes(piece))
                length += len(piece)
            body = b"".join(parts) if length == stop - start else b""
        if length == stop - start:
            return body
        hint = "Run again; if it stays, check the store's state and the network."
        failure: StoreError = TruncatedBodyError(
            f"the body has {length} of {stop - start} announced bytes", shown, hint, byte_range
        )
    except Exception as exc:
        failure = translate(exc, shown, byte_range)
    strong = strong_etag(found)
    if parts and strong is not None:
        failure.partial = Partial(b"".join(parts), start, stop, strong)
    parts.clear()  # the traceback keeps this frame
    try:
        # Outside of the handler: `__context__` would keep the unscrubbed original alive.
        raise failure
    finally:
        del failure
