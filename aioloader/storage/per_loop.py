"""What a store keeps for each running event loop: sessions, threads."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each event loop, made on first use there, forgotten with the loop.

    May be created in any thread, without a loop. Copies and pickles are empty: connections do not travel.
    """

    def __init__(self) -> None:
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()
        # Loops run in threads of their own; the dictionary is shared by all of them.
        self._lock = threading.Lock()

    def get(self, make: Callable[[], T]) -> T:
        """The running loop's value; ``make()`` if it has none yet."""
        loop = asyncio.get_running_loop()
        with self._lock:
            value = self._values.get(loop)
            if value is None:
                value = self._values[loop] = make()
            return value

    def take(self) -> T | None:
        """The running loop's value, which is no longer kept here; None if it has none."""
        with self._lock:
            return self._values.pop(asyncio.get_running_loop(), None)

    def __reduce__(self) -> tuple[type[PerLoop[T]], tuple[()]]:
        return PerLoop, ()
