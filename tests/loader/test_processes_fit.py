"""``model.fit`` with training and validation data of worker processes: each sample once, by one set of workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import worker_pids

pytestmark = pytest.mark.keras

EPOCHS, N_TRAIN, N_HELD_OUT = 3, 40, 18


def numbered(n: int, base: int) -> al.Dataset:
    store = al.MemoryStore({f"{i:03}": str(base + i).encode() for i in range(n)})
    return al.from_samples([f"{i:03}" for i in range(n)], store=store)


def decode(data: bytes, sample: al.SampleRef, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two features, and a target that says which sample it is."""
    return np.array([int(data) % 7, rng.random()], np.float32), np.array([int(data)], np.float32)


def fit(**options: Any) -> tuple[dict[str, list[list[int]]], bytes, list[set[int]]]:
    """The numbers seen in each epoch of training and of validation, the weights after it, the workers' pids."""
    import keras

    seen: dict[str, list[list[int]]] = {"train": [], "test": []}
    pids: list[set[int]] = []

    class Noting(keras.Model):  # type: ignore[misc]  # Keras is untyped
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

        def train_step(self, data: Any) -> Any:
            seen["train"][-1] += data[1][:, 0].numpy().astype(int).tolist()
            return super().train_step(data)

        def test_step(self, data: Any) -> Any:
            seen["test"][-1] += data[1][:, 0].numpy().astype(int).tolist()
            return super().test_step(data)

    class Epochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            seen["train"].append([])

        def on_test_begin(self, logs: Any = None) -> None:
            seen["test"].append([])

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            pids.append(worker_pids())

    keras.utils.set_random_seed(1)
    model = Noting()
    model.compile(optimizer="sgd", loss="mse", run_eagerly=True)
    with (
        al.Loader(
            numbered(N_TRAIN, 0), decode=decode, batch_size=8, shuffle=True, seed=4, drop_last=False, **options
        ) as train,
        al.Loader(numbered(N_HELD_OUT, 500), decode=decode, batch_size=8, **options) as held_out,
    ):
        model.fit(train.to_keras(), validation_data=held_out.to_keras(), epochs=EPOCHS, verbose=0, callbacks=[Epochs()])
    return seen, b"".join(np.asarray(weight).tobytes() for weight in model.get_weights()), pids


def test_fit_and_validation_share_the_workers_and_end_where_threads_do() -> None:
    seen, weights, pids = fit(use_multiprocessing=True, workers=2)
    assert [sorted(epoch) for epoch in seen["train"]] == [list(range(N_TRAIN))] * EPOCHS
    assert seen["test"] == [list(range(500, 500 + N_HELD_OUT))] * EPOCHS
    assert seen["train"][0] != seen["train"][1]
    assert len(pids[0]) == 2
    assert pids == [pids[0]] * EPOCHS, "workers were replaced between epochs"
    assert worker_pids() == set()
    assert fit(use_multiprocessing=False)[:2] == (seen, weights)
