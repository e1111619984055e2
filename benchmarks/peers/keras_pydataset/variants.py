"""What Keras' PyDataset is tried with.

Keras loads at most ``max_queue_size + 2`` batches at once, whatever ``workers`` says, so the queue grows with the
workers. Its documentation offers threads and, where the decoder holds Python's lock, processes (which it forks). A
batch is fetched together by threads or by aiohttp in the background: expert code, Keras brings no fetching.
"""

from __future__ import annotations

from typing import Any


def variants(
    cores: int, requests: int, batch_size: int, *, is_remote: bool, use_multiprocessing: bool
) -> list[dict[str, Any]]:
    """Option sets, the best known first."""
    batches = max(requests // batch_size, 2)
    workers = (2 * cores, cores) if not is_remote else (batches + cores, 2 * (batches + cores))
    if use_multiprocessing:
        workers = (cores, 2 * cores) if not is_remote else (4 * cores, max(requests // 64, 6 * cores))
    clients = ("aiohttp", "threads") if is_remote else ("files",)
    return [
        {
            "fetch": "together",
            "workers": count,
            "use_multiprocessing": use_multiprocessing,
            "max_queue_size": 2 * count,
            "client": client,
            "in_flight": 64 if use_multiprocessing else 2 * requests,
        }
        for client in clients
        for count in workers
        if client == "aiohttp" or count == workers[0] or not is_remote
    ]


def guide() -> list[dict[str, Any]]:
    """As the guide writes it: nothing to choose."""
    return [{"fetch": "one by one"}]
