"""How many batches load at a time, and what comes of it: min(workers, max_queue_size + 2)?"""

from __future__ import annotations

from functools import partial

from harness import interleaved

from keras_knobs.fitting import Batches, fit, small_model, waits
from keras_knobs.table import Table, spread

LATENCY_S = 0.05
CASES = ((1, 10), (4, 10), (16, 2), (16, 4), (16, 10), (16, 32), (32, 64))


def measure(repeats: int) -> Table:
    """Whole convoys in the middle of an epoch, neither its beginning nor its end."""
    model = small_model()
    most: dict[str, int] = {}

    def rate(name: str, workers: int, queue: int) -> float:
        at_once = min(workers, queue + 2)
        data = Batches(8 * at_once, waits(LATENCY_S), workers=workers, max_queue_size=queue)
        times = fit(model, data)
        most[name] = max(most.get(name, 0), data.most_at_once)
        return times.rate(at_once, 7 * at_once)

    cases = {f"workers={w}, max_queue_size={q}": (w, q) for w, q in CASES}
    figures = interleaved({name: partial(rate, name, *case) for name, case in cases.items()}, repeats)
    rows = [
        [
            str(workers),
            str(queue),
            str(min(workers, queue + 2)),
            str(most[name]),
            spread(figures[name]),
            f"{min(workers, queue + 2) / LATENCY_S:.0f}",
            f"{workers / LATENCY_S:.0f}",
        ]
        for name, (workers, queue) in cases.items()
    ]
    header = ["workers", "max_queue_size", "rule", "most `__getitem__` at once", "batches/s, median (quartiles)"]
    return Table("rates", [*header, "by the rule", "by the workers"], rows, figures)
