"""How long does an epoch of JPEGs over HTTP take with aioloader, Keras' PyDataset and tf.data?

    python benchmarks/bench_keras_loaders.py [--latency 30ms] [--samples 1024] [--repeats 5] [--json FILE]

Every case reads the same JPEGs (128x96, generated noise) from one bucket in a process of its own, decodes with Pillow
and resizes to 64x64, in batches of 32, in order; the consumer only counts. Peers fetch over kept-alive connections, one
a thread. PyDataset runs as its guide writes it (one sample after another, Keras' default knobs) and with many workers
and a queue to match; tf.data maps a numpy_function with as many parallel calls as aioloader has requests in flight.
"""

from __future__ import annotations

import argparse
import http.client
import io
import math
import os
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import numpy as np
from harness import interleaved, report
from PIL import Image

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from aioloader.units import parse_seconds

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BATCH_SIZE = 32
SIZE = (64, 64)
IN_FLIGHT = 64


def make_images(folder: Path, count: int) -> None:
    """``count`` JPEGs of noise."""
    noise = np.random.default_rng(0)
    for index in range(count):
        pixels = noise.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((128, 96)).save(folder / f"{index:05d}.jpg", quality=90)


class Connections(threading.local):
    """One kept-alive connection a thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port)
        self._root = parts.path

    def decoded(self, key: str) -> NDArray[np.uint8]:
        """The image of ``key``, fetched, decoded and resized; uint8 (64, 64, 3)."""
        self._connection.request("GET", self._root + quote(key))
        body = self._connection.getresponse().read()
        image = Image.open(io.BytesIO(body)).convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image)


class Peers:
    """The same epoch by other loaders; each method returns samples a second."""

    def __init__(self, url: str, keys: Sequence[str]) -> None:
        import keras
        import tensorflow as tf

        self._keras: Any = keras
        self._tf: Any = tf
        self._connections = Connections(url)
        self._keys = list(keys)

    def pydataset(self, workers: int, max_queue_size: int) -> float:
        """Batches through Keras' own adapter, as ``fit`` would pull them."""
        from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

        connections, keys = self._connections, self._keys

        class Images(self._keras.utils.PyDataset):  # type: ignore[misc, name-defined]  # Keras is untyped
            def __len__(self) -> int:
                return math.ceil(len(keys) / BATCH_SIZE)

            def __getitem__(self, index: int) -> tuple[NDArray[np.uint8]]:
                wanted = keys[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
                return (np.stack([connections.decoded(key) for key in wanted]),)

        adapter = PyDatasetAdapter(Images(workers=workers, max_queue_size=max_queue_size), shuffle=False)
        started = perf_counter()
        adapter.on_epoch_begin()
        count = sum(len(batch[0]) for batch in adapter.get_tf_dataset().take(math.ceil(len(keys) / BATCH_SIZE)))
        adapter.on_epoch_end()
        return count / (perf_counter() - started)

    def tf_data(self) -> float:
        """`tf.data` with a Python decoder, prefetching by itself."""
        tf = self._tf

        def load(key: Any) -> Any:
            image = tf.numpy_function(lambda raw: self._connections.decoded(raw.decode()), [key], tf.uint8)
            return tf.ensure_shape(image, (*SIZE, 3))

        dataset = tf.data.Dataset.from_tensor_slices(self._keys)
        dataset = dataset.map(load, num_parallel_calls=IN_FLIGHT).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.threading.private_threadpool_size = IN_FLIGHT  # else two cores mean two calls
        started = perf_counter()
        count = sum(len(batch) for batch in dataset.with_options(options))
        return count / (perf_counter() - started)


def ours(data: al.Dataset) -> float:
    """One epoch of a fresh loader with every knob at its default."""
    with al.Loader(data, decode=al.ImageDecoder(size=SIZE), batch_size=BATCH_SIZE) as loader:
        started = perf_counter()
        count = sum(len(batch[0]) for batch in loader)
        return count / (perf_counter() - started)


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--latency", default="30ms")
    options.add_argument("--samples", type=int, default=1024)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), chosen.samples)
        with bucket_process(Path(folder), parse_seconds("--latency", chosen.latency)) as url:
            data = al.image_folder(url, label_mode=None)
            few = data.subset(range(min(4 * BATCH_SIZE, len(data))))
            all_peers, few_peers = Peers(url, data.keys), Peers(url, few.keys)
            results = interleaved(
                {
                    "PyDataset as the guide writes it (workers=1)": lambda: few_peers.pydataset(1, 10),
                    "PyDataset, workers=16, max_queue_size=10": lambda: all_peers.pydataset(16, 10),
                    "PyDataset, workers=32, max_queue_size=32": lambda: all_peers.pydataset(32, 32),
                    f"tf.data, {IN_FLIGHT} parallel calls": all_peers.tf_data,
                    "aioloader, defaults": lambda: ours(data),
                },
                chosen.repeats,
            )
    title = f"JPEGs over HTTP at {chosen.latency} a request, Pillow decode to 64x64"
    print(report(title, results, unit="samples/s", json_path=chosen.json))


if __name__ == "__main__":
    main()
