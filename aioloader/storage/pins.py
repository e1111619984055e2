"""The version of an object that a dataset was listed with, as a request can ask for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aioloader.types import VersionedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from aioloader.types import ByteRange, SampleRef, Store

# What a header can carry of an entity tag. A weak one, W/"...", has its quotes in the wrong place.
_ETAG = re.compile(r'"([!#-~]+)"|(?!W/)([!#-~]+)')


def strong_etag(etag: str | None) -> str | None:
    """``etag`` with the quotes that a header gives it, which manifests and Azure's listings leave out.

    None for what names no version: nothing, a weak tag, and text that is no tag.
    """
    if etag is None:
        return None
    match = _ETAG.fullmatch(etag)
    if match is None:
        return None
    return etag if match[1] else f'"{etag}"'


def pin_of(known: SampleRef | None) -> str | None:
    """The ETag that ``known`` was listed with, a strong one."""
    return None if known is None or known.etag is None else strong_etag(known.etag)


def is_another(found: str, etag: str) -> bool:
    """Whether an answer with the ETag ``found`` is not of the object that ``etag`` names; one without tells nothing.

    A proxy that weakens the tag has not changed the object.
    """
    found = found.strip()
    return bool(found) and found.removeprefix("W/").strip('"') != etag.strip('"')


def version_getter(store: Store) -> Callable[[str, ByteRange | None, str], Coroutine[Any, Any, bytes]] | None:
    """``store.get_version``, of a store that has it; ask once and keep it, the look costs more than a request may."""
    return store.get_version if isinstance(store, VersionedStore) else None
