"""The contenders take turns: real loaders, one after another, each round in another order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from aioloader.cli.tuning.consuming import rate_of, read_for
from aioloader.cli.tuning.contenders import LEAST_ROUNDS, Lane
from aioloader.errors import AioloaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.cli.tuning.contenders import Contender
    from aioloader.loader import Loader

_MOST_ROUNDS: Final = 12
_LEAST_FILLING_S, _LEAST_MEASURED_S, _ENDS_S = 0.15, 0.3, 0.15
_LONGEST_TURN_S: Final = 3.0
_WANTED_ROUNDS: Final = 5
_TURNS_SHARE: Final = 0.85
"""Of the time; the rest is that of interpreters that start and of turns that take longer."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How long each reads: until its pipeline is full, and while it counts; and what it takes to begin and to end."""

    filling_s: float
    measured_s: float
    around_s: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.filling_s + self.measured_s + self.around_s


def turn_for(seconds: float, contenders: int, *, request_s: float, batch_s: float) -> Turn:
    """One that gives `_WANTED_ROUNDS` in ``seconds``, where ``request_s`` is a request's time and ``batch_s`` the
    loader's for a batch: both are waited for some times, whatever ``seconds`` are."""
    # The first batch is waited for, and the last one comes when it is ready.
    around_s = _ENDS_S + request_s + 2 * batch_s
    wanted_s = min(_TURNS_SHARE * seconds / contenders / _WANTED_ROUNDS - around_s, _LONGEST_TURN_S)
    filling_s = max(_LEAST_FILLING_S, 2 * request_s, wanted_s / 4)
    measured_s = max(_LEAST_MEASURED_S, 4 * request_s, 3 * batch_s, wanted_s - filling_s)
    return Turn(filling_s=filling_s, measured_s=measured_s, around_s=around_s)


def run_rounds(
    candidates: Sequence[Contender],
    make: Callable[[Contender], Loader],
    *,
    until_s: float,
    turn: Turn,
    step_time_s: float,
    tick: Callable[[], None],
    keep: Callable[[Sequence[Lane]], None],
) -> None:
    """Rounds until ``until_s`` (monotonic), with as many of the first ``candidates`` as there is time for.

    ``keep`` is told of the lanes at once; they fill, and hold what was measured where an error ends the rounds. With
    next to no time nobody runs.
    """
    least_s = LEAST_ROUNDS * turn.seconds + turn.filling_s + _ENDS_S
    wanted_s = _WANTED_ROUNDS * turn.seconds + turn.filling_s + _ENDS_S
    left_s = until_s - monotonic()
    if left_s < least_s:
        return
    # The most telling neighbour may take longer than there is time: without any nothing is checked.
    fitting = max(int(left_s / wanted_s), 2)
    lanes: list[Lane] = []
    keep(lanes)
    order = Random(0)
    with ExitStack() as stack:
        running: list[tuple[Lane, Loader]] = []
        for contender in candidates:
            if len(running) < fitting:
                lanes.append(Lane(contender))
                loader = _started(lanes[-1], make, stack, tick)
                if loader is not None:
                    running.append((lanes[-1], loader))
        if len(running) < 2:
            return
        for number in range(_MOST_ROUNDS):
            begun_s = monotonic()
            for lane, loader in order.sample(running, len(running)):
                lane.rates.append(
                    rate_of(
                        loader,
                        filling_s=turn.filling_s,
                        seconds=turn.measured_s,
                        step_time_s=step_time_s,
                        tick=tick,
                    )
                )
            if number + 1 >= LEAST_ROUNDS and 2 * monotonic() - begun_s > until_s:
                return


def _started(
    lane: Lane, make: Callable[[Contender], Loader], stack: ExitStack, tick: Callable[[], None]
) -> Loader | None:
    """With connections and interpreters; None where it cannot run: a decoder may not be sent to processes."""
    try:
        loader = stack.enter_context(make(lane.contender))
        read_for(loader, 0.0, 0.0, tick)
    except AioloaderError as exc:
        lane.failure = str(exc)
        return None
    return loader
