"""F: what does a sample cost a loader, with 2 kB objects at 5 ms a request where nothing else costs much?"""

from __future__ import annotations

from race.objects import TINY_SAMPLES
from race.row import Row, ours

ROW = Row(
    letter="F",
    title="2 kB objects over HTTP at 5 ms, no decoding: CPU a sample",
    objects=TINY_SAMPLES,
    latency_s=0.005,
    count=50_000,
    quick_count=20_000,
    batch_size=256,
    expected_per_s=20_000,
    decoders=("none",),
    extra=(
        ours("threads, aiohttp", "none", use_multiprocessing=False, transport="aiohttp"),
        ours("processes, aiohttp", "none", use_multiprocessing=True, transport="aiohttp"),
    ),
)
