"""What a loop that reads one file after another would take: measured on a few, projected to all."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from aioloader.errors import AioloaderError

if TYPE_CHECKING:
    from collections.abc import Sequence


def seconds_per_read(url: str, keys: Sequence[str]) -> float:
    """Mean seconds of a GET of ``keys`` below ``url``, one after another on one kept-alive connection.

    Reading only, no decoding. Raises `AioloaderError` for an answer that is not 200.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.connect()
        started_s = time.perf_counter()
        for key in keys:
            connection.request("GET", parts.path + quote(key))
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise AioloaderError(f"GET of {key} was answered {response.status} instead of 200")
        return (time.perf_counter() - started_s) / len(keys)
    finally:
        connection.close()
