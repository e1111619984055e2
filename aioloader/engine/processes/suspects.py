"""Samples that were in user code when their worker process died: done again alone, and named if they kill again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from aioloader.engine.processes.link import exit_text
from aioloader.errors import WorkerDiedError
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioloader.types import SampleRef

_SIGKILL = 9
_LIVES, _LIVES_WHEN_KILLED = 1, 3
"""Deaths a sample may be alone with before it is poison. SIGKILL may come from anyone, at any time: with 3 such
deaths needed, 2,004 random kills named no sample; with 1, six would have been (`docs/notes/worker-deaths.md`)."""


class Suspects:
    """One stream's, by ticket; true while one waits for a process of its own. Used on the loop alone."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._deaths: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, ticket: int) -> None:
        """It was in user code, beside others that the process had."""
        self._deaths.setdefault(ticket, 0)
        self._waiting.append(ticket)

    def take(self) -> int:
        """The next to be done, alone."""
        return self._waiting.popleft()

    def clear(self, tickets: Iterable[int]) -> None:
        """These are done."""
        if self._deaths:
            for ticket in tickets:
                self._deaths.pop(ticket, None)

    def deaths_alone(self, ticket: int) -> int:
        """How many processes have died with nothing else to do."""
        return self._deaths.get(ticket, 0)

    def died_alone(self, ticket: int, code: int) -> bool:
        """Another one has, with exit ``code``: whether that makes it poison; else it waits for a further try."""
        self._deaths[ticket] = deaths = self.deaths_alone(ticket) + 1
        if deaths >= (_LIVES_WHEN_KILLED if code == -_SIGKILL else _LIVES):
            return True
        self._waiting.append(ticket)
        return False


def poison_error(sample: SampleRef, code: int, deaths: int) -> WorkerDiedError:
    """What the consumer hears of a sample that ``deaths`` processes died with alone, the last with exit ``code``."""
    return WorkerDiedError(
        f"the worker process that decoded it died ({exit_text(code)}), and so did "
        f"{'a fresh one' if deaths == 1 else f'{deaths} fresh ones'} that decoded nothing else",
        shown_key(sample.key),
        'Look at the file and at what the decoder does with it; on_error="skip" goes on without it.',
        sample.byte_range,
        deaths + 1,
        "",
        sample.index,
    )
