"""What torch's DataLoader is tried with.

Its documentation says: ``num_workers`` about the cores for decoding, more where workers wait; ``__getitems__`` where a
batch can be fetched together; ``prefetch_factor`` batches ahead in each worker. A worker fetches or decodes, never both
at a time, hence more workers than cores. Threads or aiohttp inside the worker are the expert's choice.
"""

from __future__ import annotations

from typing import Any


def variants(cores: int, requests: int, batch_size: int, *, is_remote: bool) -> list[dict[str, Any]]:
    """Option sets, the best known first."""
    if not is_remote:
        return [{"workers": workers, "prefetch_factor": 4} for workers in (cores, 2 * cores)]
    many = max(4 * cores, min(requests // 64, 8 * cores))
    return [
        {"workers": many, "prefetch_factor": 2, "client": "aiohttp", "in_flight": 64},
        {"workers": many, "prefetch_factor": 2, "client": "threads", "in_flight": 64},
        {"workers": 2 * cores, "prefetch_factor": 4, "client": "aiohttp", "in_flight": 64},
        {"workers": 2 * cores, "prefetch_factor": 4, "client": "threads", "in_flight": 32},
    ]
