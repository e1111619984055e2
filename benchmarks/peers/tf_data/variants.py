"""What tf.data is tried with.

Its performance guide says: parallel ``map`` and ``prefetch`` with AUTOTUNE, order only where it is needed, a private
thread pool where calls wait. AUTOTUNE knows cores, not latency, so the fetching calls get a number. Gathering a batch
by aiohttp behind one call is the expert's choice. The decoder "tf" is TensorFlow's own ``decode_jpeg`` and ``resize``.
"""

from __future__ import annotations

from typing import Any


def variants(cores: int, requests: int, batch_size: int, *, is_remote: bool) -> list[dict[str, Any]]:
    """Option sets, the best known first."""
    if not is_remote:
        return [{"by": "sample", "threads": threads, "deterministic": False} for threads in (0, cores, 4 * cores)]
    batches = max(requests // batch_size, 2) + cores
    many = min(requests, 256)
    common = {"in_flight": 2 * requests, "deterministic": False}
    return [
        {"by": "batch", "calls": batches, "threads": batches + 2 * cores} | common,
        {"by": "batch", "calls": 2 * batches, "threads": 2 * batches + 2 * cores} | common,
        {"by": "sample", "calls": many, "threads": many + 2 * cores} | common,
    ]
