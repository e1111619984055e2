"""How long the rest takes, from how long the runs so far took, and whether there is time for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class TimeLeft:
    """``steps`` says how many of each kind there are; ``guess_s`` is what one takes of a kind that was not seen yet.
    ``ends_at`` (monotonic) is when all has to be over, None for no hurry."""

    def __init__(self, steps: Mapping[str, int], guess_s: float, ends_at: float | None = None) -> None:
        self._left = Counter(steps)
        self._guess_s = guess_s
        self._ends_at = ends_at
        self._took_s: dict[str, list[float]] = defaultdict(list)
        self.total = sum(steps.values())

    def done(self, kind: str, seconds: float) -> None:
        """One of ``kind`` is over."""
        self._left[kind] -= 1
        self._took_s[kind].append(seconds)

    def skip(self, kind: str, count: int) -> None:
        """``count`` of ``kind`` will not be run."""
        self._left[kind] -= count

    def is_time_for(self, kind: str, count: int) -> bool:
        """Whether ``count`` more of ``kind`` end in time."""
        return self._ends_at is None or monotonic() + count * self._one_s(kind) <= self._ends_at

    @property
    def steps_done(self) -> int:
        """And skipped."""
        return self.total - sum(self._left.values())

    @property
    def seconds(self) -> float:
        """The estimate."""
        needed = sum(count * self._one_s(kind) for kind, count in self._left.items() if count > 0)
        return needed if self._ends_at is None else max(min(needed, self._ends_at - monotonic()), 0.0)

    def _one_s(self, kind: str) -> float:
        took = self._took_s.get(kind)
        return sum(took) / len(took) if took else self._guess_s

    def __str__(self) -> str:
        seconds = round(self.seconds)
        return f"about {seconds} s left" if seconds < 100 else f"about {round(seconds / 60)} min left"
