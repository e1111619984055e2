"""G: how many large photos (2 MB, 3000x2000) a second become 224x224, with all pixels read and with DCT scaling?

Some loaders have a fifth of these few batches under way when the first is done, so the whole epoch is what is compared.
"""

from __future__ import annotations

from race.objects import LARGE_PHOTOS
from race.row import Row

ROW = Row(
    letter="G",
    title="2 MB photos of 3000x2000 over HTTP at 30 ms, decoded and resized to 224x224",
    objects=LARGE_PHOTOS,
    latency_s=0.03,
    count=512,
    quick_count=128,
    batch_size=8,
    expected_per_s=400,
    decoders=("pillow", "pillow-dct", "fast", "fast-dct"),
    headline="whole_samples_per_s",
)
