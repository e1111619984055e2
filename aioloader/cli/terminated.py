"""SIGTERM as an exception, so that what a command made is removed before it ends."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

TERMINATED: Final = 143  # 128 + SIGTERM, as shells report it


@contextmanager
def terminated_by_exception() -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit in the main thread; a second one does not disturb the leaving.

    Changes nothing in another thread, or where somebody handles SIGTERM already.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(number: int, frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)
