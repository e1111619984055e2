"""What a few slow batches cost where batches come in order."""

from __future__ import annotations

from functools import partial
from random import Random
from time import sleep
from typing import TYPE_CHECKING

from harness import interleaved, paired_ratios

from keras_knobs.fitting import Batches, fit, small_model
from keras_knobs.table import Table, spread

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 100
N_SLOW = 2
SLOW_S, LATENCY_S = 1.0, 0.05


def measure(repeats: int) -> Table:
    """A whole epoch after its first batch; one in each 50 is slow, another each round."""
    model = small_model()
    order = Random(0)

    def rate(workers: int, queue: int, n_slow: int) -> float:
        each = COUNT // n_slow if n_slow else COUNT
        slow = {number * each + order.randrange(4, each) for number in range(n_slow)}
        data = Batches(COUNT, _loading(slow), workers=workers, max_queue_size=queue)
        return fit(model, data).rate()

    cases = {
        "workers=16, max_queue_size=10, none slow": (16, 10, 0),
        "workers=16, max_queue_size=10, 2 % slow": (16, 10, N_SLOW),
        "workers=64, max_queue_size=62, 2 % slow": (64, 62, N_SLOW),
    }
    figures = interleaved({name: partial(rate, *case) for name, case in cases.items()}, repeats, warm_up=False)
    rows = [[name, spread(figures[name]), spread(paired_ratios(figures, name))] for name in cases]
    return Table("stragglers", ["case", "batches/s, median (quartiles)", "ratio to first"], rows, figures)


def _loading(slow: set[int]) -> Callable[[int], None]:
    return lambda index: sleep(SLOW_S if index in slow else LATENCY_S)
