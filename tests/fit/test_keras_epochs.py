"""Real `fit`, `evaluate` and `predict`: every batch once an epoch, epochs with their exact numbers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.fit import keras_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fit.conftest import Place, RecordingSource, Trained

pytestmark = pytest.mark.keras

Sources = Callable[..., "RecordingSource"]
Places = Callable[[list[int], int], list["Place"]]

STEPS = pytest.mark.parametrize("steps", [1, 2, 3, 8])


@STEPS
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_two_fits_of_two_epochs(steps: int, verbose: int, source_of: Sources, trained: Trained, places: Places) -> None:
    source = source_of(steps_per_epoch=steps)
    adapter = keras_adapter(source)
    trained.model.fit(adapter, epochs=2, verbose=verbose)
    trained.model.fit(adapter, epochs=2, verbose=verbose)
    assert trained.seen.of("train") == places([0, 1, 2, 3], steps)
    assert source.pulled == places([0, 1, 2, 3], steps)
    assert source.ahead == [1, 0, 1, 0]
    assert "open" not in source.states


def test_each_fit_may_ask_for_an_adapter_of_its_own(source_of: Sources, trained: Trained, places: Places) -> None:
    source = source_of()
    for _ in range(2):
        trained.model.fit(keras_adapter(source), epochs=2, verbose=0)
    assert trained.seen.of("train") == places([0, 1, 2, 3], 3)


@STEPS
def test_validation_data_of_its_own(steps: int, source_of: Sources, trained: Trained, places: Places) -> None:
    source, validation = source_of(steps_per_epoch=steps), source_of(steps_per_epoch=steps)
    for _ in range(2):
        trained.model.fit(keras_adapter(source), epochs=2, validation_data=keras_adapter(validation), verbose=0)
    assert trained.seen.of("train") == places([0, 1, 2, 3], steps)
    assert trained.seen.of("test") == places([0, 1, 2, 3], steps)
    assert (source.ahead, validation.ahead) == ([1, 0, 1, 0], [0, 0, 0, 0])
    assert {*source.states, *validation.states} <= {"ended", "dropped"}


@STEPS
@pytest.mark.parametrize("same_adapter", [True, False])
def test_validation_on_the_training_source_takes_every_other_epoch(
    steps: int, same_adapter: bool, source_of: Sources, trained: Trained, places: Places
) -> None:
    source = source_of(steps_per_epoch=steps)
    adapter = keras_adapter(source)
    validation = adapter if same_adapter else keras_adapter(source)
    trained.model.fit(adapter, epochs=3, validation_data=validation, verbose=0)
    assert trained.seen.of("train") == places([0, 2, 4], steps)
    assert trained.seen.of("test") == places([1, 3, 5], steps)
    assert source.ahead == [2, 0, 1, 0, 0, 0]


def test_validation_freq(source_of: Sources, trained: Trained, places: Places) -> None:
    source, validation = source_of(), source_of()
    trained.model.fit(
        keras_adapter(source),
        epochs=5,
        validation_data=keras_adapter(validation),
        validation_freq=2,
        verbose=0,
    )
    assert trained.seen.of("test") == places([0, 1], 3)


def test_validation_steps_begin_at_the_front_of_an_epoch_each_time(source_of: Sources, trained: Trained) -> None:
    validation = source_of(steps_per_epoch=3)
    trained.model.fit(
        keras_adapter(source_of()),
        epochs=2,
        validation_data=keras_adapter(validation),
        validation_steps=2,
        verbose=0,
    )
    assert trained.seen.of("test") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    gc.collect()
    assert "open" not in validation.states


@STEPS
def test_evaluate_and_predict_take_one_epoch_each(
    steps: int, source_of: Sources, trained: Trained, places: Places
) -> None:
    source = source_of(steps_per_epoch=steps)
    adapter = keras_adapter(source)
    trained.model.evaluate(adapter, verbose=0)
    assert trained.model.predict(adapter, verbose=0).shape == (2 * steps, 1)
    trained.model.evaluate(adapter, verbose=0)
    trained.model.fit(adapter, verbose=0)
    assert trained.seen.of("test") == places([0, 2], steps)
    assert trained.seen.of("predict") == places([1], steps)
    assert trained.seen.of("train") == places([3], steps)
    assert source.ahead == [0, 0, 0, 0]
    assert source.pulled == places([0, 1, 2, 3], steps)


def test_steps_of_predict_and_evaluate(source_of: Sources, trained: Trained) -> None:
    source = source_of(steps_per_epoch=8)
    adapter = keras_adapter(source)
    trained.model.predict(adapter, steps=3, verbose=0)
    trained.model.evaluate(adapter, steps=1, verbose=0)
    assert trained.seen.of("predict") == [(0, 0), (0, 1), (0, 2)]
    assert trained.seen.of("test") == [(1, 0)]


@pytest.mark.parametrize("fields", ["x", "xy", "xyw", "dict"])
def test_every_structure_of_a_batch(
    fields: str, source_of: Sources, new_model: Callable[..., Trained], places: Places
) -> None:
    source = source_of(fields=fields)
    fresh = new_model()
    adapter = keras_adapter(source)
    if fields != "x":
        fresh.model.fit(adapter, epochs=2, verbose=0)
        assert fresh.seen.of("train") == places([0, 1], 3)
    fresh.model.predict(adapter, verbose=0)
    assert len(fresh.seen.of("predict")) == 3


def test_initial_epoch_goes_on_in_the_order_of_that_epoch(source_of: Sources, trained: Trained, places: Places) -> None:
    source = source_of()
    adapter = keras_adapter(source)
    trained.model.fit(adapter, epochs=5, initial_epoch=3, verbose=0)
    trained.model.fit(adapter, epochs=2, verbose=0)
    assert trained.seen.of("train") == places([3, 4, 5, 6], 3)
    assert source.ahead == [1, 0, 1, 0]


# Keras 3.15 reads its own variables in a way that numpy 2 warns about when it saves them.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_backup_and_restore_goes_on_in_the_order_of_its_epoch(
    source_of: Sources, new_model: Callable[..., Trained], tmp_path: Path, places: Places
) -> None:
    import keras

    class Crash(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise OSError("power cut")

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    crashed, again = new_model(), new_model()
    for fresh in (crashed, again):
        fresh.model(np.zeros((2, 1)))  # the callback wants a model that is built
    with pytest.raises(OSError, match="power cut"):
        crashed.model.fit(keras_adapter(source_of()), epochs=4, callbacks=[backup(), Crash()], verbose=0)
    source = source_of()
    again.model.fit(keras_adapter(source), epochs=4, callbacks=[backup()], verbose=0)
    assert again.seen.of("train") == places([2, 3], 3)
    assert source.ahead == [1, 0]


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_three_steps_per_execution(steps: int, source_of: Sources, three_at_once: Trained, places: Places) -> None:
    source = source_of(steps_per_epoch=steps)
    adapter = keras_adapter(source)
    for _ in range(2):
        three_at_once.model.fit(
            adapter, epochs=2, validation_data=keras_adapter(source_of(steps_per_epoch=steps)), verbose=0
        )
    three_at_once.model.predict(adapter, verbose=0)
    assert three_at_once.seen.of("train") == places([0, 1, 2, 3], steps)
    assert three_at_once.seen.of("test") == places([0, 1, 0, 1], steps)
    assert three_at_once.seen.of("predict") == places([4], steps)
    assert source.ahead == [1, 0, 1, 0, 0]


@pytest.fixture(scope="module")
def _three_at_once(new_model: Callable[..., Trained]) -> Trained:
    return new_model(steps_per_execution=3)


@pytest.fixture
def three_at_once(_three_at_once: Trained) -> Trained:
    _three_at_once.seen.batches.clear()
    return _three_at_once


def test_fewer_steps_per_epoch_than_batches_lose_no_batch(source_of: Sources, trained: Trained, places: Places) -> None:
    source = source_of(steps_per_epoch=6)
    adapter = keras_adapter(source)
    trained.model.fit(adapter, epochs=4, steps_per_epoch=3, verbose=0)
    assert trained.seen.of("train") == places([0, 1], 6)
    assert source.ahead == [1, 0]


def test_steps_per_epoch_that_do_not_divide_the_epoch_cut_it_short_as_keras_does(
    source_of: Sources, trained: Trained, places: Places
) -> None:
    source = source_of(steps_per_epoch=6)
    with pytest.warns(UserWarning, match="ran out of data"):
        history = trained.model.fit(keras_adapter(source), epochs=3, steps_per_epoch=4, verbose=0)
    assert len(history.epoch) == 3
    assert trained.seen.of("train") == places([0], 6) + places([1], 4)  # 4, 2, 4 steps
    gc.collect()
    assert "open" not in source.states


def test_more_steps_per_epoch_than_batches_end_with_the_epoch(
    source_of: Sources, trained: Trained, places: Places
) -> None:
    source = source_of(steps_per_epoch=3)
    with pytest.warns(UserWarning, match="ran out of data"):
        trained.model.fit(keras_adapter(source), epochs=2, steps_per_epoch=5, verbose=0)
    assert trained.seen.of("train") == places([0, 1], 3)


class SymbolicBuild:
    """Keras' own ``EpochIterator`` driven as its JAX and torch trainers do: a look at a batch, then reset."""

    def __init__(self, adapter: Any, look: int) -> None:
        from keras.src.trainers.epoch_iterator import EpochIterator

        self.iterator = EpochIterator(x=adapter)
        for _, (*_, batches) in zip(range(look), self.iterator, strict=False):
            assert len(batches) == 1

    def fit(self, epochs: int) -> list[Place]:
        self.iterator.reset()
        return [(batch.epoch, batch.step) for _ in range(epochs) for *_, batches in self.iterator for batch in batches]


@STEPS
@pytest.mark.parametrize("look", [0, 1, 2])
def test_a_trainer_that_looks_at_batches_first_trains_on_them_all_the_same(
    steps: int, look: int, source_of: Sources, places: Places
) -> None:
    source = source_of(steps_per_epoch=steps)
    adapter = keras_adapter(source)
    seen = [place for _ in range(2) for place in SymbolicBuild(adapter, min(look, steps)).fit(epochs=2)]
    assert seen == places([0, 1, 2, 3], steps)
    assert source.epochs == [0, 1, 2, 3]


@STEPS
def test_a_loop_of_ones_own_over_keras_epoch_iterator_gets_each_epoch_once(
    steps: int, source_of: Sources, places: Places
) -> None:
    from keras.src.trainers.epoch_iterator import EpochIterator

    source = source_of(steps_per_epoch=steps)
    iterator = EpochIterator(x=keras_adapter(source))
    seen = [(batch.epoch, batch.step) for _ in range(2) for *_, batches in iterator for batch in batches]
    assert seen == places([0, 1], steps)
