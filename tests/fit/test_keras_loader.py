"""`Loader.to_keras()` with the real engine: ids exactly once, the loader's own orders, nothing fetched for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import aioloader as al
from aioloader.errors import ObjectNotFoundError
from aioloader.serve.thread import serve_in_thread
from tests.loader.conftest import ASKED_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from aioloader.dataset.samples import Dataset
    from tests.fit.conftest import Trained

pytestmark = pytest.mark.keras

N_SAMPLES = 21


def decode(data: bytes) -> NDArray[np.float32]:
    """``x`` is the number in the file."""
    return np.array([int(data)], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``NN.txt``: its own number."""
    root = tmp_path_factory.mktemp("numbers")
    for number in range(N_SAMPLES):
        (root / f"{number:02d}.txt").write_text(str(number))
    return root


def numbers(root: Path | str, *, missing: int | None = None) -> Dataset:
    keys = [f"{number:02d}.txt" if number != missing else "gone.txt" for number in range(N_SAMPLES)]
    return al.from_samples([(key, number % 2) for number, key in enumerate(keys)], root=root)


def new_loader(data: Dataset, *, shuffle: bool = True) -> al.Loader:
    return al.Loader(data, decode=decode, batch_size=4, shuffle=shuffle, seed=5, drop_last=False, retry=ASKED_ONCE)


def order_of(root: Path, epochs: list[int]) -> list[int]:
    """The ids of ``epochs``, as a loader of the same seed gives them to a ``for`` loop."""
    with new_loader(numbers(root)) as loader:
        return [int(i) for epoch in epochs for batch in loader.open_epoch(epoch) for i in batch.sample_ids]


def test_two_fits_train_on_the_orders_of_four_epochs(folder: Path, trained: Trained) -> None:
    with new_loader(numbers(folder)) as loader:
        trained.model.fit(loader.to_keras(), epochs=2, verbose=0)
        trained.model.fit(loader.to_keras(), epochs=2, verbose=0)
        copies = loader.stats().private_copies
    seen = trained.seen.ids("train")
    assert seen == order_of(folder, [0, 1, 2, 3])
    for epoch in range(4):
        assert sorted(seen[epoch * N_SAMPLES : (epoch + 1) * N_SAMPLES]) == list(range(N_SAMPLES))
    assert copies == 0, "a tensor gives its slab back before the ring runs dry"


def test_validation_evaluate_and_predict_see_each_sample_once(folder: Path, trained: Trained) -> None:
    with new_loader(numbers(folder)) as train, new_loader(numbers(folder), shuffle=False) as validation:
        adapter = validation.to_keras()
        trained.model.fit(train.to_keras(), epochs=2, validation_data=adapter, verbose=0)
        trained.model.evaluate(adapter, verbose=0)
        assert trained.model.predict(adapter, verbose=0).shape == (N_SAMPLES, 1)
    assert trained.seen.ids("train") == order_of(folder, [0, 1])
    assert trained.seen.ids("test") == list(range(N_SAMPLES)) * 3
    assert trained.seen.ids("predict") == list(range(N_SAMPLES))


def test_a_resumed_fit_goes_on_in_the_order_of_its_epoch(folder: Path, trained: Trained) -> None:
    with new_loader(numbers(folder)) as loader:
        trained.model.fit(loader.to_keras(), epochs=4, initial_epoch=2, verbose=0)
    assert trained.seen.ids("train") == order_of(folder, [2, 3])


def test_nothing_is_fetched_past_the_last_epoch(folder: Path, trained: Trained) -> None:
    with serve_in_thread(folder) as server, new_loader(numbers(server.url)) as loader:
        trained.model.fit(loader.to_keras(), epochs=2, verbose=0)
        fetched = server.statistics().requests
        assert N_SAMPLES <= fetched <= 2 * N_SAMPLES  # both epochs may want a sample at the same time
        trained.model.evaluate(loader.to_keras(), verbose=0)
        assert server.statistics().requests == fetched + N_SAMPLES


def test_a_missing_sample_is_named_by_fit(folder: Path, trained: Trained) -> None:
    with (
        new_loader(numbers(folder, missing=13)) as loader,
        pytest.raises(ObjectNotFoundError, match=r"sample 13 \(.*gone\.txt") as caught,
    ):
        trained.model.fit(loader.to_keras(), epochs=2, verbose=0)
    assert caught.value.sample_id == 13


def test_weights_of_the_loader_reach_the_loss(folder: Path, new_model: Callable[..., Trained]) -> None:
    def loss(class_weight: dict[int, float] | None) -> float:
        with al.Loader(numbers(folder), decode=decode, batch_size=7, class_weight=class_weight) as loader:
            return float(new_model().model.evaluate(loader.to_keras(), verbose=0))

    assert loss({0: 10.0, 1: 10.0}) == pytest.approx(10 * loss(None))


def test_a_fit_stopped_in_mid_epoch_leaves_nothing_once_the_loader_is_closed(folder: Path, trained: Trained) -> None:
    import keras

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.model.stop_training = batch == 1

    with new_loader(numbers(folder)) as loader:
        trained.model.fit(loader.to_keras(), epochs=2, callbacks=[Stop()], verbose=0)
        trained.model.fit(loader.to_keras(), verbose=0)
    assert trained.seen.ids("train") == order_of(folder, [0])[:8] + order_of(folder, [1])


def test_tensorflows_profiler_sees_the_waits(folder: Path, trained: Trained, tmp_path: Path) -> None:
    import tensorflow as tf

    with new_loader(numbers(folder)) as loader:
        trained.model.fit(loader.to_keras(), verbose=0)
        with tf.profiler.experimental.Profile(str(tmp_path)):
            trained.model.fit(loader.to_keras(), verbose=0)
    (written,) = tmp_path.rglob("*.xplane.pb")
    assert b"aioloader.wait" in written.read_bytes()
