"""What SPDL is tried with.

Its guide says: async ops for the network, sync ops in threads for decoding, as many threads as decode without waiting
for each other, few hand-overs. By the batch is expert code; by the sample is the guide's own example. The loop is
uvloop's, the client aiohttp: SPDL brings none.
"""

from __future__ import annotations

from typing import Any


def variants(cores: int, requests: int, batch_size: int, *, is_remote: bool) -> list[dict[str, Any]]:
    """Option sets, the best known first. ``requests`` is what the row's latency needs in flight."""
    if not is_remote:
        return [{"by": by, "decode_threads": threads} for by in ("batch", "sample") for threads in (cores, 2 * cores)]
    batches = max(requests // batch_size, 2)
    return [
        {"by": "batch", "batches_in_flight": batches, "connections": 0, "decode_threads": cores},
        {"by": "batch", "batches_in_flight": 2 * batches, "connections": 0, "decode_threads": cores},
        {"by": "batch", "batches_in_flight": batches, "connections": 0, "decode_threads": cores + 1},
        {"by": "sample", "samples_in_flight": requests, "connections": 0, "decode_threads": cores},
    ]
