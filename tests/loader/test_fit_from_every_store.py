"""The same ``model.fit`` from disk, HTTP and S3: every id once an epoch, and the same weights to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import ASKED_ONCE, N_IMAGES, Bucket

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_services import Service

pytestmark = pytest.mark.keras

EPOCHS = 3


def image_and_id(data: bytes, sample: al.SampleRef) -> tuple[np.ndarray, np.ndarray]:
    """The image, and a target of the label and the id, so that the model can tell what it was fed."""
    image = al.ImageDecoder(size=(8, 8)).decode(data, sample)
    return image, np.array([sample.label, sample.index], np.int64)


def fit(data: al.Dataset, **options: Any) -> tuple[list[int], bytes, list[float]]:
    """Ids in the order trained on, the weights after it, and each epoch's loss."""
    import keras

    seen: list[int] = []

    class Noting(keras.Model):  # type: ignore[misc]  # Keras is untyped
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, images: Any) -> Any:
            return self.dense(keras.ops.reshape(keras.ops.cast(images, "float32") / 255, (-1, 192)))

        def train_step(self, batch: Any) -> Any:
            images, targets = batch
            seen.extend(targets[:, 1].numpy().tolist())
            return super().train_step((images, targets[:, 0]))

    keras.utils.set_random_seed(1)
    model = Noting()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, run_eagerly=True)
    options |= {"drop_last": False, "retry": ASKED_ONCE}
    with al.Loader(data, decode=image_and_id, batch_size=8, shuffle=True, seed=4, **options) as loader:
        history = model.fit(loader.to_keras(), epochs=EPOCHS, verbose=0)
    return seen, b"".join(np.asarray(weight).tobytes() for weight in model.get_weights()), history.history["loss"]


def test_fit_sees_each_id_once_an_epoch_and_ends_at_the_same_weights_from_every_store(
    bucket: Bucket, moto: Service, image_root: Path
) -> None:
    folder = image_root / "train"
    expected = fit(al.image_folder(folder))
    ids, _, losses = expected
    orders = [ids[start : start + N_IMAGES] for start in range(0, len(ids), N_IMAGES)]
    assert len(orders) == EPOCHS == len(losses)
    assert all(sorted(order) == list(range(N_IMAGES)) for order in orders)
    assert orders[0] != orders[1] != orders[2]

    assert fit(al.image_folder(folder.as_uri()), concurrency=1, workers=1) == expected
    assert fit(al.image_folder(bucket.url), concurrency=64, workers=4) == expected
    gets = bucket.image_gets()
    assert N_IMAGES <= gets <= EPOCHS * N_IMAGES  # two epochs may want an image at once; nothing beyond the last one
    assert fit(al.image_folder(bucket.url), workers=2, use_multiprocessing=True) == expected
    assert N_IMAGES <= bucket.image_gets() - gets <= EPOCHS * N_IMAGES

    name = moto.new_bucket({f"t/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*.png")})
    for in_processes in (False, True):
        data = al.image_folder(f"s3://{name}/t/", store=moto.store())
        assert fit(data, concurrency=8, workers=2, use_multiprocessing=in_processes) == expected
