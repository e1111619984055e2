"""Whether one worker starts a thread, and whether `max_queue_size` then matters."""

from __future__ import annotations

import threading
from time import sleep

from keras_knobs.fitting import Batches, fit, small_model
from keras_knobs.table import Table, spread

COUNT = 32
STEP_S = 0.02
CASES = ((1, 2), (1, 10), (1, 64), (2, 2), (2, 10), (16, 10))


class Watch:
    """How many batches were made and not trained on, after each step; and Keras' own threads."""

    def __init__(self, data: Batches) -> None:
        self._data = data
        self._ahead: list[int] = []
        self.keras_threads: set[str] = set()

    def after_batch(self) -> None:
        """A step that takes its time, so that loading can run ahead."""
        sleep(STEP_S)
        self._ahead.append(self._data.made - len(self._ahead) - 1)
        self.keras_threads |= {thread.name for thread in threading.enumerate() if thread.name.startswith("Worker_")}

    def most_ahead(self) -> int:
        """In the second quarter of the epoch: the queue is full, and the end is not near."""
        looked_at = self._data.made - len(self._ahead)  # to learn shapes, and thrown away
        return max(self._ahead[COUNT // 4 : COUNT // 2]) - looked_at


def measure(repeats: int) -> Table:
    """Loading costs nothing, a step 20 ms. Counts hardly differ between rounds, so two."""
    model = small_model()
    rows, figures = [], {}
    for workers, queue in CASES:
        ahead: list[float] = []
        keras_threads: set[str] = set()
        where: set[str] = set()
        for _ in range(min(repeats, 2)):
            data = Batches(COUNT, workers=workers, max_queue_size=queue)
            watch = Watch(data)
            fit(model, data, after_batch=watch.after_batch)
            ahead.append(watch.most_ahead())
            keras_threads |= watch.keras_threads
            where |= {"main" if name == "MainThread" else "other" for name in data.threads}
        figures[f"workers={workers}, max_queue_size={queue}"] = ahead
        starts = "yes" if keras_threads else "no"
        rows.append([str(workers), str(queue), starts, " and ".join(sorted(where)), spread(ahead)])
    header = ["workers", "max_queue_size", "Keras starts a thread", "`__getitem__` runs in threads", "batches ahead"]
    return Table("threads", header, rows, figures)
