"""Row E's model with the data in memory: what of a sample's time is not loading."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from runner.counting import Count
from runner.fitting import Watch, tiny_model

if TYPE_CHECKING:
    from runner.job import Job


def alone(job: Job) -> dict[str, Any]:
    """One epoch of ``fit`` over one batch repeated; ``work_cpu_s`` is the model's, Keras' and this dataset's."""
    model, _ = tiny_model(job)
    image = np.random.default_rng(0).integers(0, 256, (job.batch_size, *job.size, 3), np.uint8)
    pixels = tf.constant(image)
    dataset = tf.data.Dataset.range(0, job.count - job.count % job.batch_size, job.batch_size)
    dataset = dataset.map(lambda first: (pixels, first + tf.range(job.batch_size, dtype=tf.int64)))
    model.fit(dataset.take(2), epochs=1, verbose=0)
    count, cpu = Count(job.count), process_time()
    model.fit(dataset, epochs=1, verbose=0, callbacks=[Watch(count, job)])
    work = process_time() - cpu
    done = job.count - job.count % job.batch_size
    return count.result() | {
        "distinct": job.count,
        "samples": job.count,
        "checksum": -1,
        "work_cpu_s": work,
        "of": done,
    }
