"""E: how many JPEGs a second does ``model.fit`` of a tiny model train on, fed over HTTP at 30 ms a request?"""

from __future__ import annotations

from peers.keras_pydataset import variants as keras_pydataset
from race.objects import IMAGENET_LIKE
from race.row import CORES, Competitor, Row, cpp_tf_data

ROW = Row(
    letter="E",
    title="The JPEGs of B through model.fit of a tiny model on TensorFlow",
    objects=IMAGENET_LIKE,
    latency_s=0.03,
    count=4_096,
    quick_count=2_048,
    batch_size=32,
    expected_per_s=2_800,
    decoders=("pillow", "fast"),
    through_fit=True,
    extra=(
        cpp_tf_data((CORES, 128, 32), is_remote=True),
        Competitor(
            name="pydataset-guide",
            peer="keras_pydataset",
            decoder="pillow",
            group="pillow",
            variants=keras_pydataset.guide(),
            most=128,
        ),
    ),
)
