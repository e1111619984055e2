"""A: how many objects of 64 KiB a second come through, at 50 ms a request and without any decoding?

aioloader runs with every knob at its default (in this environment that is the client over httptools), with as many
requests in flight as the others need, and with aiohttp.
"""

from __future__ import annotations

from race.objects import SMALL_OBJECTS
from race.row import Row, ours

ROW = Row(
    letter="A",
    title="64 KiB objects over HTTP at 50 ms, no decoding",
    objects=SMALL_OBJECTS,
    latency_s=0.05,
    count=20_000,
    quick_count=8_000,
    batch_size=32,
    expected_per_s=7_000,
    decoders=("none",),
    extra=tuple(
        ours(f"{home}, {more}", "none", use_multiprocessing=home == "processes", **options)
        for more, options in {
            "1024 requests": {"concurrency": 1024},
            "aiohttp": {"transport": "aiohttp"},
            "aiohttp, 1024 requests": {"transport": "aiohttp", "concurrency": 1024},
        }.items()
        for home in ("threads", "processes")
    ),
)
