"""What Grain is tried with.

Its documentation says: ``ReadOptions(num_threads, prefetch_buffer_size)`` for slow storage, ``mp_prefetch`` where
Python's lock is the limit. Its statistics scan the whole buffer for each element, so a buffer far above the threads
costs. Whole batches as elements, fetched together by aiohttp, are the expert's choice.
"""

from __future__ import annotations

from typing import Any


def variants(cores: int, requests: int, batch_size: int, *, is_remote: bool) -> list[dict[str, Any]]:
    """Option sets, the best known first."""
    if not is_remote:
        return [
            {"by": "sample", "threads": cores, "buffer": 4 * batch_size, "workers": 0},
            {"by": "batch", "threads": cores, "buffer": 8, "workers": 0, "in_flight": 1},
            {"by": "sample", "threads": 1, "buffer": batch_size, "workers": cores},
        ]
    batches = max(requests // batch_size, 2) + cores
    threads = min(requests, 256)
    return [
        {"by": "batch", "threads": batches, "buffer": 2 * batches, "workers": 0, "in_flight": 2 * requests},
        {
            "by": "batch",
            "threads": max(batches // cores, 2),
            "buffer": batches,
            "workers": cores,
            "in_flight": requests,
        },
        {"by": "sample", "threads": threads, "buffer": 2 * threads, "workers": 0},
        {"by": "sample", "threads": max(threads // cores, 16), "buffer": threads, "workers": cores},
    ]
