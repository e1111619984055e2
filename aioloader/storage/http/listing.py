"""What lies below a web address: from ``index.jsonl`` beside the data, or by walking directory pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aioloader.errors import AccessDeniedError, DatasetError, ObjectNotFoundError, StoreError
from aioloader.storage.http.index import INDEX_KEY, parse_index
from aioloader.storage.http.pages import parse_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aioloader.types import ObjectMeta

MAX_ENTRIES: Final = 50_000_000
MAX_DEPTH: Final = 32
"""Folders within folders; a link that leads back to its own parent reads as a tree without end."""
PAGES_IN_FLIGHT: Final = 16

_WHAT_TO_DO: Final = (
    "put an index.jsonl next to the data ({'key': ..., 'size': ...} on each line), switch directory pages on "
    "(nginx: autoindex on), or name the samples with al.manifest"
)


async def list_objects(
    fetch: Callable[[str], Awaitable[bytes]], location: str, prefix: str
) -> AsyncIterator[ObjectMeta]:
    """Every object below ``location`` whose key starts with ``prefix``, each once.

    ``fetch(key)`` gives the body at a relative key. The index, where there is one, is the whole truth.
    Raises `DatasetError`, `ManifestError`, `StoreError`.
    """

    async def page(key: str) -> bytes:
        try:
            return await fetch(key)
        except StoreError as exc:
            raise _while_listing(exc) from exc.__cause__

    denied: StoreError | None = None
    try:
        index: bytes | None = await page(INDEX_KEY)
    except ObjectNotFoundError:
        index = None
    except AccessDeniedError as exc:
        # S3's web sites answer 403 for what does not exist.
        index, denied = None, exc
    if index is not None:
        async for meta in parse_index(index, location + INDEX_KEY):
            if meta.key.startswith(prefix):
                yield meta
        return
    async for meta in _walk(page, location, prefix, denied):
        yield meta


def _while_listing(exc: StoreError) -> StoreError:
    """``exc`` as an error of the listing, with the same class, reason and hint."""
    return type(exc)(exc.reason, exc.key, exc.hint, exc.byte_range, exc.attempts, "list")


async def _walk(
    fetch: Callable[[str], Awaitable[bytes]], location: str, prefix: str, denied: StoreError | None
) -> AsyncIterator[ObjectMeta]:
    """Breadth first, `PAGES_IN_FLIGHT` pages at a time, in the order the pages show."""
    folders, depth, entries = [""], 0, 0
    while folders:
        below: list[str] = []
        for first in range(0, len(folders), PAGES_IN_FLIGHT):
            some = folders[first : first + PAGES_IN_FLIGHT]
            for folder, body in zip(some, await _fetch_all(fetch, some, location, denied), strict=True):
                page = await parse_page(body, folder, location)
                if page is None:
                    raise DatasetError(
                        f"{location}{folder} is no directory page and {location}{INDEX_KEY} does not exist: "
                        + _WHAT_TO_DO
                    )
                below += [sub for sub in page.folders if sub.startswith(prefix) or prefix.startswith(sub)]
                entries += len(page.files) + len(page.folders)
                if entries > MAX_ENTRIES:
                    raise DatasetError(f"{location} shows more than {MAX_ENTRIES} entries: {_WHAT_TO_DO}")
                for meta in page.files:
                    if meta.key.startswith(prefix):
                        yield meta
        folders, depth = below, depth + 1
        if folders and depth > MAX_DEPTH:
            raise DatasetError(
                f"{location}{folders[0]} lies over {MAX_DEPTH} folders deep; a folder may link to its own "
                "parent: remove the link, or " + _WHAT_TO_DO
            )


async def _fetch_all(
    fetch: Callable[[str], Awaitable[bytes]], folders: list[str], location: str, denied: StoreError | None
) -> list[bytes]:
    """The pages of ``folders``, in that order; the first one's error where some fail."""
    outcomes: list[bytes | StoreError] = [b""] * len(folders)

    async def one(place: int, folder: str) -> None:
        try:
            outcomes[place] = await fetch(folder)
        except StoreError as exc:
            outcomes[place] = exc

    async with asyncio.TaskGroup() as group:
        for place, folder in enumerate(folders):
            group.create_task(one(place, folder))
    pages: list[bytes] = []
    for folder, outcome in zip(folders, outcomes, strict=True):
        if isinstance(outcome, bytes):
            pages.append(outcome)
        elif isinstance(outcome, AccessDeniedError) and denied is not None:
            raise denied
        elif isinstance(outcome, ObjectNotFoundError | AccessDeniedError):
            raise DatasetError(f"{location}{folder} cannot be listed ({outcome.reason}): {_WHAT_TO_DO}") from outcome
        else:
            raise outcome
    return pages
