"""The reference lines of a row."""

from __future__ import annotations

from typing import Any


def decode(processes: int) -> list[dict[str, Any]]:
    """Decoding from memory."""
    return [{"what": "decode", "processes": processes}]


def fetch(what: str, processes: int, requests: int) -> list[dict[str, Any]]:
    """Fetching by "aiohttp" or "protocol", without decoding; the best known first."""
    times = (2, 1) if what == "protocol" else (1, 2)  # the faster, the more of the latency it must cover
    return [{"what": what, "processes": processes, "in_flight": requests * more} for more in times]


def bare(requests: int) -> list[dict[str, Any]]:
    """Fetch and decode by the plainest code."""
    return [{"what": "bare", "in_flight": requests}]


def model() -> list[dict[str, Any]]:
    """The model alone."""
    return [{"what": "model"}]
