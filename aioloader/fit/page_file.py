"""The page on a training run as a file, kept up to date."""

from __future__ import annotations

import atexit
import logging
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aioloader.view.training_page import training_page
from aioloader.view.whole_file import write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from aioloader.monitor.snapshot import Snapshot

log = logging.getLogger(__name__)


class Watched(Protocol):
    """What can be watched: a `Loader` or an `AsyncLoader`."""

    def snapshot(self, *, since_s: float = 0.0) -> Snapshot:
        """As it is now; its verdict of what was since ``since_s``."""
        ...


class PageFile:
    """Written whole each time."""

    def __init__(self, loader: Watched, path: str | os.PathLike[str]) -> None:
        self._loader = loader
        self._path = Path(path).absolute()  # whoever changes the directory later does not move it
        self._at_exit: Callable[[], None] | None = None

    def write(self) -> None:
        """As things are now. What fails is logged: no training ends because of its page."""
        try:
            write_whole(self._path, self._made())
        except OSError as exc:
            log.warning("the page on the training run could not be written: %s", exc)
        except Exception:
            log.warning("the page on the training run could not be written; please report this", exc_info=True)

    def _made(self) -> str:
        snapshot = self._loader.snapshot()
        return training_page(
            snapshot.stats,
            snapshot.timeline,
            snapshot.verdict,
            snapshot.changes,
            snapshot.knobs,
            snapshot.source,
            keras=snapshot.keras,
        )

    def write_at_exit(self) -> None:
        """Have the interpreter write it when it exits, if the page is still of use to somebody then."""
        if self._at_exit is None:
            self._at_exit = partial(_write, weakref.ref(self))
            atexit.register(self._at_exit)

    def forget_exit(self) -> None:
        """It is written."""
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None


def _write(page: weakref.ref[PageFile]) -> None:
    known = page()
    if known is not None:
        known.write()
