"""A store that asks once for what several want at the same time: the same object, or ranges of it side by side."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from aioloader.errors import StoreError
from aioloader.storage.policies.range_groups import groups
from aioloader.storage.policies.wrapping import WrappingStore
from aioloader.types import InformedStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.types import ByteRange, SampleRef

Told: TypeAlias = "asyncio.Future[bytes | StoreError | None]"
"""The bytes, or the failure; None for who has to ask for itself."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    byte_range: ByteRange
    known: SampleRef | None
    told: Told


class CoalescingStore(WrappingStore[InformedStore]):
    """``base``, asked once for all who want the same at the same time."""

    def __init__(self, base: InformedStore) -> None:
        super().__init__(base)
        self._in_flight: dict[tuple[str, ByteRange | None, str | None], list[Told]] = {}
        self._gathered: dict[tuple[str, str | None], list[_Wanted]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # A disk's second read is the page cache's.
        self._merges = not base.origin.startswith(("file:", "memory:"))

    async def get(self, key: str, byte_range: ByteRange | None = None, known: SampleRef | None = None) -> bytes:
        """As the base's. Who is cancelled takes nobody's answer away."""
        wanted = key, byte_range, None if known is None else known.etag  # another version is another object
        while (followers := self._in_flight.get(wanted)) is not None:
            told: Told = asyncio.get_running_loop().create_future()
            followers.append(told)
            outcome = await told
            if outcome is not None:
                return _unwrapped(outcome, byte_range)
        self._in_flight[wanted] = followers = []
        result: bytes | StoreError | None = None
        try:
            if byte_range is not None and self._merges:
                result = await self._get_with_neighbours(key, byte_range, known)
            else:
                result = await self.base.get(key, byte_range, known)
        except StoreError as exc:
            result = exc
            raise
        finally:
            del self._in_flight[wanted]
            for told in followers:
                _tell(told, result)  # None where this was cancelled: the first of them asks in its place
            if not isinstance(result, bytes):
                result = None  # the traceback keeps this frame
        return result

    async def _get_with_neighbours(self, key: str, byte_range: ByteRange, known: SampleRef | None) -> bytes:
        """The range, by one request with others of ``key`` that are asked for in the same turn of the loop."""
        loop = asyncio.get_running_loop()
        told: Told = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._send)
        version = key, None if known is None else known.etag
        self._gathered.setdefault(version, []).append(_Wanted(byte_range, known, told))
        outcome = await told
        return await self.base.get(key, byte_range, known) if outcome is None else _unwrapped(outcome, byte_range)

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for (key, _), all_wanted in gathered.items():
            for whole, members in groups([wanted.byte_range for wanted in all_wanted]):
                group = [all_wanted[index] for index in members]
                if len(group) == 1:
                    _tell(group[0].told, None)
                else:
                    self._send_group(key, whole, group)

    def _send_group(self, key: str, whole: ByteRange, group: list[_Wanted]) -> None:
        task = asyncio.get_running_loop().create_task(self._get_group(key, whole, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def end_if_nobody_waits(_: Told) -> None:
            if all(wanted.told.done() for wanted in group):
                task.cancel()

        for wanted in group:
            wanted.told.add_done_callback(end_if_nobody_waits)

    async def _get_group(self, key: str, whole: ByteRange, group: list[_Wanted]) -> None:
        known = group[0].known
        if known is not None:
            known = replace(known, byte_range=whole)
        try:
            body = await self.base.get(key, whole, known)
        except StoreError as exc:
            for wanted in group if exc.is_transient else ():  # all attempts were made
                _tell(wanted.told, exc)
        else:
            for wanted in group:
                start, stop = wanted.byte_range
                # Nothing of it: whether the object ends before is for its own request to say.
                _tell(wanted.told, body[start - whole[0] : stop - whole[0]] or None)
        finally:
            for wanted in group:  # a failure that may be another's: each asks, and has it under its own name
                _tell(wanted.told, None)

    @property
    def read_now(self) -> Callable[[str, ByteRange | None], bytes] | None:
        """The base's, where it has one."""
        return getattr(self.base, "read_now", None)

    def __reduce__(self) -> tuple[object, ...]:
        return CoalescingStore, (self.base,)


def _tell(told: Told, outcome: bytes | StoreError | None) -> None:
    if not told.done():
        told.set_result(outcome)


def _unwrapped(outcome: bytes | StoreError, byte_range: ByteRange | None) -> bytes:
    if isinstance(outcome, StoreError):
        raise outcome.copied().after(outcome.attempts, byte_range)  # each has its own sample's name and traceback
    return outcome
