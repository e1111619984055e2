"""A model of which nothing is known but how long it takes for a batch."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from aioloader.loader import Loader
    from aioloader.types import Batch

_EPOCHS: Final = 1_000_000
"""More than anybody waits for: reading goes on over the ends of epochs without a gap."""
_LEAST_BATCHES: Final = 2


def _batches(loader: Loader) -> Generator[Batch, None, None]:
    yield from loader.epochs(_EPOCHS)


@contextmanager
def consuming(loader: Loader, step_time_s: float, tick: Callable[[], None]) -> Iterator[Iterator[tuple[float, int]]]:
    """(When it came, samples) of each batch, which is held for ``step_time_s``. The stream ends with the block."""
    batches = _batches(loader)

    def arrivals() -> Iterator[tuple[float, int]]:
        for batch in batches:
            tick()
            yield monotonic(), len(batch.sample_ids)
            if step_time_s:
                sleep(step_time_s)

    try:
        yield arrivals()
    finally:
        batches.close()


def read_for(loader: Loader, seconds: float, step_time_s: float, tick: Callable[[], None]) -> None:
    """Read for ``seconds`` from the first batch on."""
    with consuming(loader, step_time_s, tick) as arrivals:
        first_s, _ = next(arrivals)
        for at_s, _ in arrivals:
            if at_s - first_s >= seconds:
                return


def rate_of(loader: Loader, *, filling_s: float, seconds: float, step_time_s: float, tick: Callable[[], None]) -> float:
    """Samples a second, from ``filling_s`` after the first batch on and for ``seconds``, two batches at least."""
    with consuming(loader, step_time_s, tick) as arrivals:
        first_s, _ = next(arrivals)
        begun_s = next(at_s for at_s, _ in arrivals if at_s - first_s >= filling_s)
        samples = 0
        for batches in count(1):
            at_s, came = next(arrivals)
            samples += came
            if batches >= _LEAST_BATCHES and at_s - begun_s >= seconds:
                return samples / max(at_s - begun_s, 1e-9)
    raise AssertionError  # epochs do not end
