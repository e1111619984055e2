"""Listing a bucket through obstore, with the one meaning of ``prefix`` that all stores share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioloader.errors import StoreError
from aioloader.storage.obstore_errors import translated_each
from aioloader.storage.obstore_keys import is_faithful
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from obstore.store import AzureStore, GCSStore, S3Store

PAGE_OBJECTS = 1000
"""Objects a page, which is what the services send in one answer."""


async def list_objects(
    store: S3Store | GCSStore | AzureStore, *, root: str, prefix: str, shown: str
) -> AsyncGenerator[ObjectMeta, None]:
    """Every object below ``root`` (empty, or ending in ``/``) whose relative key starts with ``prefix``.

    obstore's own prefix matches whole segments only: the folder of ``root + prefix`` is listed and filtered.
    A zero-byte "folder marker" (``train/``, made by consoles) is left out where something follows in that
    folder: obstore drops its slash, and no sample is empty. Raises what `obstore_errors` says.
    """
    import obstore

    wanted = root + prefix
    folder = wanted[: wanted.rfind("/") + 1]
    if folder and not is_faithful(folder[:-1]):
        raise StoreError(
            "a folder with an empty, '.' or '..' segment cannot be listed",
            shown,
            "Point the URL at another folder, or name the keys in a manifest.",
        )
    stream: Any = obstore.list(store, folder or None, chunk_size=PAGE_OBJECTS)
    previous: ObjectMeta | None = None
    async for page in translated_each(aiter(stream), shown):
        for entry in page:
            path = entry["path"]
            if not path.startswith(wanted):
                continue
            meta = ObjectMeta(key=path[len(root) :], size_bytes=entry["size"], etag=entry["e_tag"])
            if previous is not None and not _is_marker(previous, meta.key):
                yield previous
            previous = meta
    if previous is not None:
        yield previous


def _is_marker(meta: ObjectMeta, next_key: str) -> bool:
    return meta.size_bytes == 0 and next_key.startswith(meta.key + "/")
