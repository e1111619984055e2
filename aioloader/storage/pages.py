"""Listings that go on where they broke off: a page that fails is asked for again, no entry is lost or given twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Final, TypeVar

from aioloader.errors import ServerFailedError
from aioloader.types import PagedStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aioloader.types import Asker, ObjectMeta, Store

T = TypeVar("T")

_AT_ONCE: Final = 100
"""Entries of a store without pages that are asked for in one go."""


async def ask_once(page: Callable[[], Awaitable[T]]) -> T:
    """The `aioloader.types.Asker` that does not ask again."""
    return await page()


async def listed(store: Store, prefix: str, asker: Asker) -> AsyncGenerator[ObjectMeta, None]:
    """What ``store`` lists, asked for by ``asker``: by its own pages, where it has some.

    Else the listing begins anew after an error, and what was given already is passed over; one that comes in another
    order then is an error.
    """
    found = store.list_pages(prefix, asker) if isinstance(store, PagedStore) else _in_parts(store, prefix, asker)
    try:
        async for meta in found:
            yield meta
    finally:
        await close(found)


async def _in_parts(store: Store, prefix: str, asker: Asker) -> AsyncGenerator[ObjectMeta, None]:
    given: list[str] = []
    stream: AsyncIterator[ObjectMeta] | None = None

    async def part() -> list[ObjectMeta]:
        nonlocal stream
        metas: list[ObjectMeta] = []
        try:
            if stream is None:
                stream = aiter(store.list(prefix))
                for key in given:
                    passed = await anext(stream, None)
                    if passed is None or passed.key != key:
                        raise _other_order(store)
            async for meta in stream:
                metas.append(meta)
                if len(metas) == _AT_ONCE:
                    break
        except BaseException:
            await close(stream)
            stream = None
            raise
        return metas

    try:
        while metas := await asker(part):
            given += [meta.key for meta in metas]
            for meta in metas:
                yield meta
    finally:
        await close(stream)


def _other_order(store: Store) -> ServerFailedError:
    error = ServerFailedError(
        "the listing broke off, and came in another order when it was asked for again",
        store.location,
        "List again.",
        stage="list",
    )
    error.is_transient = False
    return error


async def close(found: AsyncIterator[ObjectMeta] | None) -> None:
    """End a listing that is a generator; others end by being let go."""
    if isinstance(found, AsyncGenerator):
        await found.aclose()
