"""Listing a bucket through obstore, with the one meaning of ``prefix`` that all stores share, page by page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aioloader.errors import ServerFailedError, StoreError, TransferStalledError
from aioloader.storage.obstore.errors import translate
from aioloader.storage.obstore.keys import is_faithful
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from obstore.store import AzureStore, GCSStore, S3Store

PAGE_OBJECTS = 100
"""Objects that obstore gives at once: fewer than a service sends, for what it holds back is lost with the next page."""


class Listing:
    """Every object below ``root`` (empty, or ending in ``/``) whose relative key starts with ``prefix``.

    obstore's own prefix matches whole segments only: the folder of ``root + prefix`` is listed and filtered.
    A zero-byte "folder marker" (``train/``, made by consoles) is left out where something follows in that
    folder: obstore drops its slash, and no sample is empty.

    After an error `next_page` may be called again, and goes on behind the last entry. A service that ``starts_after`` a
    key is asked to, if its keys came in order so far; else the listing begins anew and what was given is passed over.
    ``store`` is asked for obstore's store each time. A page that takes longer than ``page_timeout_s`` is a stall.
    """

    def __init__(
        self,
        store: Callable[[], S3Store | GCSStore | AzureStore],
        *,
        root: str,
        prefix: str,
        shown: str,
        page_timeout_s: float,
        starts_after: bool = True,
    ) -> None:
        self._store = store
        self._root = root
        self._wanted = root + prefix
        self._shown = shown
        self._page_timeout_s = page_timeout_s
        self._starts_after = starts_after
        self._stream: Any = None
        self._is_ordered = True
        self._passing = 0
        """Entries that were given before the listing began anew."""
        self._taken = 0
        self._last = self._resumed_at = ""
        self._turns: set[tuple[str, str]] = set()
        self._held: ObjectMeta | None = None

    async def next_page(self) -> list[ObjectMeta]:
        """More objects; none at the end. Raises what `obstore.errors` says."""
        while (page := await self._page()) is not None:
            if metas := [meta for entry in page if (meta := self._take(entry)) is not None]:
                return metas
        if self._passing:
            raise self._unusable("fewer objects than before it broke off", "List again.")
        held, self._held = self._held, None
        return [] if held is None else [held]

    async def _page(self) -> Sequence[Any] | None:
        """What obstore gives next; None at the end."""
        if self._stream is None:
            self._begin()
        try:
            async with asyncio.timeout(self._page_timeout_s):
                page: Sequence[Any] | None = await anext(self._stream, None)
                return page
        except TimeoutError:
            failure: StoreError = TransferStalledError(
                f"the listing gave nothing for {self._page_timeout_s:g} s",
                self._shown,
                "Check the service's state, or name the keys in a manifest.",
                stage="list",
            )
        except Exception as exc:
            failure = translate(exc, self._shown)
        self._stream = None
        # Outside the handler: __context__ would keep the unscrubbed original alive.
        raise failure

    def _begin(self) -> None:
        import obstore

        folder = self._wanted[: self._wanted.rfind("/") + 1]
        if folder and not is_faithful(folder[:-1]):
            raise StoreError(
                "a folder with an empty, '.' or '..' segment cannot be listed",
                self._shown,
                "Point the URL at another folder, or name the keys in a manifest.",
            )
        may_start_after = self._starts_after and self._is_ordered
        self._resumed_at = self._last if may_start_after else ""
        self._passing = 0 if may_start_after else self._taken
        offset = self._resumed_at or None
        self._stream = aiter(obstore.list(self._store(), folder or None, offset=offset, chunk_size=PAGE_OBJECTS))

    def _take(self, entry: Any) -> ObjectMeta | None:
        """What is now known to be an object: the one before ``entry``."""
        path: str = entry["path"]
        place = path
        if entry["size"] == 0 and path <= self._last < path + "/":
            place += "/"  # a folder's marker, whose slash obstore drops: it comes behind "folder.json"
        if self._passing:
            self._passing -= 1
            if not self._passing and path != self._last.removesuffix("/"):
                raise self._unusable("another order than before it broke off", "List again.")
            return None
        if self._resumed_at and place <= self._resumed_at:
            return None  # a service that does not start there
        if self._taken and place <= self._last:
            self._turn(path)
        self._taken += 1
        self._last = place
        if not path.startswith(self._wanted):
            return None
        held, self._held = (
            self._held,
            ObjectMeta(key=path[len(self._root) :], size_bytes=entry["size"], etag=quoted(entry["e_tag"])),
        )
        return None if held is None or _is_marker(held, self._held.key) else held

    def _turn(self, path: str) -> None:
        """Not every service lists in order, but none comes to the same place twice."""
        if self._resumed_at:
            raise self._unusable("no order, and broke off", "List again.")
        self._is_ordered = False
        if (self._last, path) in self._turns:
            again = "Its continuation token leads back; check endpoint=, or name the keys in a manifest."
            raise self._unusable("the same objects again", again)
        self._turns.add((self._last, path))

    def _unusable(self, what: str, hint: str) -> StoreError:
        error = ServerFailedError(f"the service lists {what}", self._shown, hint, stage="list")
        error.is_transient = False
        return error


def quoted(etag: str | None) -> str | None:
    """``etag`` as headers have it: Azure lists it without its quotes."""
    return f'"{etag}"' if etag and '"' not in etag else etag


def _is_marker(meta: ObjectMeta, next_key: str) -> bool:
    return meta.size_bytes == 0 and next_key.startswith(meta.key + "/")
