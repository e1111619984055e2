"""C: how many JPEGs a second come from the local disk (its page cache), decoded and resized to 224x224?"""

from __future__ import annotations

from race.objects import IMAGENET_LIKE
from race.row import CORES, Row, cpp_tf_data

ROW = Row(
    letter="C",
    title="500x375 JPEGs from the local disk, decoded and resized to 224x224",
    objects=IMAGENET_LIKE,
    latency_s=None,
    count=4_096,
    quick_count=2_048,
    batch_size=32,
    expected_per_s=2_800,
    decoders=("pillow", "fast"),
    extra=(cpp_tf_data((CORES, 1, 32), is_remote=False),),
)
