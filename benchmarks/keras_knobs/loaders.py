"""A PyDataset as Keras' guide writes it, one that knows the rule, and aioloader, from the same bucket through `fit`."""

from __future__ import annotations

import http.client
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from harness import interleaved, paired_ratios

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from keras_knobs.fitting import Batches, fit, small_model
from keras_knobs.table import Table, spread

BODY_BYTES = 4096
BATCH_SIZE = 8
FILES = 4096
AT_ONCE = 32
LATENCIES_S = (0.005, 0.05, 0.2)


class Fetched(threading.local):
    """One kept-alive connection a thread; a batch is fetched one sample after another."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port)
        self._root = parts.path

    def batch(self, index: int) -> Any:
        """uint8 (BATCH_SIZE, BODY_BYTES)."""
        bodies = []
        for number in range(index * BATCH_SIZE, (index + 1) * BATCH_SIZE):
            self._connection.request("GET", f"{self._root}a/{number:05d}.bin")
            bodies.append(np.frombuffer(self._connection.getresponse().read(), "uint8"))
        return np.stack(bodies)


def measure(repeats: int) -> Table:
    """Nobody decodes, the step costs next to nothing; batches of 8."""
    model = small_model(BODY_BYTES)
    rows = []
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a").mkdir()
        for number in range(FILES):
            (Path(folder) / "a" / f"{number:05d}.bin").write_bytes(bytes(BODY_BYTES))
        for latency_s in LATENCIES_S:
            with bucket_process(Path(folder), latency_s) as url:
                data = al.image_folder(url, extensions=".bin")
                one_batches = 3 if latency_s > 0.1 else 8
                cases = {
                    "PyDataset, workers=1": partial(_pydataset, model, url, one_batches, 1, 10),
                    f"PyDataset, workers={AT_ONCE}, max_queue_size={AT_ONCE}": partial(
                        _pydataset, model, url, 2 * AT_ONCE, AT_ONCE, AT_ONCE
                    ),
                    "aioloader, defaults": partial(_ours, model, data),
                }
                results = interleaved(cases, repeats, warm_up=False)
            for name, values in results.items():
                figures[f"{latency_s * 1000:g} ms: {name}"] = values
                rows.append([f"{latency_s * 1000:g} ms", name, spread(values), spread(paired_ratios(results, name))])
    return Table("loaders", ["latency", "loader", "samples/s, median (quartiles)", "ratio to first"], rows, figures)


def _pydataset(model: Any, url: str, count: int, workers: int, queue: int) -> float:
    fetched = Fetched(url)
    times = fit(model, Batches(count, lambda index: fetched.batch(index), workers=workers, max_queue_size=queue))
    # Between the ends of two convoys: what loaded while the first one was waited for is a gift.
    return BATCH_SIZE * times.rate(workers - 1, -1 if workers == 1 else 2 * workers - 1)


def _ours(model: Any, data: al.Dataset) -> float:
    with al.Loader(data, decode=al.RawDecoder(shape=(BODY_BYTES,)), batch_size=BATCH_SIZE) as loader:
        times, steps = fit(model, loader.to_keras()), loader.steps_per_epoch
        return BATCH_SIZE * times.rate(steps // 5, 4 * steps // 5)
