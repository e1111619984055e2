"""What a worker of this process is at, sample by sample: for traces, and for `StalledError`."""

from __future__ import annotations

from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from aioloader.redact import shown_key
from aioloader.storage.policies.origin_state import state_of

if TYPE_CHECKING:
    from aioloader.monitor.recorder import Recorder

_TICKET_BITS, _APART = 40, 4096
"""What workers of one loader are working on has a number each; readers of a trace keep 53 bits of it."""
_numbers = count()


class InFlight:
    """One worker's entries in what its loader's ``recorder`` holds: a worker may outlive its stream."""

    def __init__(self, recorder: Recorder, origin: str) -> None:
        """``origin`` is where its samples are fetched from."""
        self._all = recorder.in_flight
        self._origin = origin
        self._first_id = (next(_numbers) % _APART) << _TICKET_BITS

    def begins(self, ticket: int, key: str, stage: str, since_s: float) -> None:
        """It is worked on from now until `ends`; any thread."""
        self._all[self._first_id + ticket] = key, stage, since_s

    def ends(self, ticket: int) -> None:
        """It is not, now; any thread."""
        self._all.pop(self._first_id + ticket, None)

    def describe(self, most: int = 5) -> str:
        """The oldest samples being worked on, for how long, and at which attempt; any thread."""
        now = monotonic()
        ids = range(self._first_id, self._first_id + (1 << _TICKET_BITS))
        own = [entry for number, entry in self._all.copy().items() if number in ids]
        oldest = sorted(own, key=lambda entry: entry[2])[:most]
        if not oldest:
            return "nothing is in flight"
        attempts = state_of(self._origin).attempts
        parts = [
            f"{shown_key(key)} ({stage}, {now - since:.1f} s"
            + (f", attempt {attempt})" if stage == "fetch" and (attempt := attempts.get(key)) else ")")
            for key, stage, since in oldest
        ]
        return f"{len(own)} in flight, the oldest: " + ", ".join(parts)
