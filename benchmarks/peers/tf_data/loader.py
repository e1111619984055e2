"""tf.data: fetching in Python (TensorFlow reads no plain HTTP), decoding in Python or by TensorFlow's own C++."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from runner.decoders import decoder
from runner.fetching import BatchFetcher, ThreadConnections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.job import Job


def decoding(job: Job) -> Callable[[Any], Any]:
    """Bytes to one sample, inside the graph; uint8."""
    if job.decoder == "tf":

        def in_cpp(body: Any) -> Any:
            image = tf.image.resize(tf.io.decode_jpeg(body, channels=3), job.size)
            return tf.ensure_shape(tf.cast(image + 0.5, tf.uint8), (*job.size, 3))

        return in_cpp
    if job.decoder == "none":
        return lambda body: tf.ensure_shape(tf.io.decode_raw(body, tf.uint8), (job.body_bytes,))
    decode = decoder(job.decoder)

    def in_python(body: Any) -> Any:
        image = tf.numpy_function(lambda raw: decode(raw, job.size), [body], tf.uint8)
        return tf.ensure_shape(image, (*job.size, 3))

    return in_python


def by_sample(job: Job) -> Any:
    """Each address mapped to its bytes by a thread of its own, then decoded."""
    decode, connections = decoding(job), ThreadConnections(job.root) if job.is_remote else None

    def fetch(address: bytes) -> bytes:
        return connections.get(address.decode()) if connections is not None else Path(address.decode()).read_bytes()

    def load(index: Any, address: Any) -> tuple[Any, Any]:
        if job.is_remote or job.decoder in ("pillow", "fast"):
            body = tf.ensure_shape(tf.numpy_function(fetch, [address], tf.string), ())
        else:
            body = tf.io.read_file(address)
        return body, index

    addresses = [job.address(index) for index in range(job.count)]
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(job.count), addresses))
    if job.is_remote:
        dataset = dataset.map(load, num_parallel_calls=job.options["calls"])
        dataset = dataset.map(lambda body, index: (decode(body), index), num_parallel_calls=tf.data.AUTOTUNE)
    else:

        def load_and_decode(index: Any, address: Any) -> tuple[Any, Any]:
            body, _ = load(index, address)
            return decode(body), index

        dataset = dataset.map(load_and_decode, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(job.batch_size, num_parallel_calls=tf.data.AUTOTUNE)


def by_batch(job: Job) -> Any:
    """Each batch's bytes gathered by aiohttp behind one call, then decoded by the sample."""
    fetcher, decode = BatchFetcher(job.root, "aiohttp", job.options["in_flight"]), decoding(job)

    def fetch(first: Any) -> Any:
        ids = range(int(first), min(int(first) + job.batch_size, job.count))
        bodies = fetcher.get_all([job.address(index) for index in ids])
        return np.array(bodies, object)  # numpy's own bytes would lose the zeros at the end

    def load(first: Any) -> tuple[Any, Any]:
        bodies = tf.ensure_shape(tf.numpy_function(fetch, [first], tf.string), (None,))
        return bodies, first + tf.range(tf.size(bodies, tf.int64), dtype=tf.int64)

    dataset = tf.data.Dataset.range(0, job.count, job.batch_size)
    dataset = dataset.map(load, num_parallel_calls=job.options["calls"]).unbatch()
    dataset = dataset.map(lambda body, index: (decode(body), index), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(job.batch_size, num_parallel_calls=tf.data.AUTOTUNE)


def made(job: Job) -> Any:
    """The dataset of the race; a private pool, for on few cores the shared one has few threads to wait in."""
    dataset = (by_batch if job.options["by"] == "batch" else by_sample)(job).prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    if job.options["threads"]:
        options.threading.private_threadpool_size = job.options["threads"]
    options.deterministic = job.options.get("deterministic", True)
    return dataset.with_options(options)


@contextmanager
def batches(job: Job) -> Iterator[Any]:
    """Batches of (samples, ids), without a copy of the tensors."""
    yield ((np.asarray(memoryview(samples)), np.asarray(memoryview(ids))) for samples, ids in made(job))


@contextmanager
def for_fit(job: Job) -> Iterator[Any]:
    """The dataset."""
    yield made(job)
