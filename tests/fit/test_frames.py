"""What is read from Keras' frames, with classes that are named as Keras names its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.errors import OptionError
from aioloader.fit.frames import KerasCall, epoch_iterator_of, read_call

if TYPE_CHECKING:
    from collections.abc import Callable


class Adapter:
    """Reads the call at the place where Keras reads ``num_batches``."""

    def __init__(self) -> None:
        self.calls: list[KerasCall | None] = []
        self.owners: list[object] = []

    @property
    def num_batches(self) -> int:
        self.calls.append(read_call(sys._getframe(1)))
        self.owners.append(epoch_iterator_of(sys._getframe(1)))
        return 3


class EpochIterator:
    __module__ = "keras.src.trainers.epoch_iterator"

    def __init__(
        self,
        x: Adapter,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        class_weight: Any = None,
        steps_per_execution: int = 1,
    ) -> None:
        self.data_adapter = x
        self.num_batches = x.num_batches

    def reset(self) -> None:
        self.num_batches = self.data_adapter.num_batches


class TFEpochIterator(EpochIterator):
    def __init__(self, distribute_strategy: Any = None, **options: Any) -> None:
        super().__init__(**options)


class Trainer:
    def fit(
        self,
        x: Any,
        epochs: int = 1,
        initial_epoch: int = 0,
        validation_data: Any = None,
        validation_batch_size: int | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        epoch_iterator = TFEpochIterator(x=x, batch_size=batch_size, **options)
        if validation_data is not None:
            TFEpochIterator(x=validation_data, batch_size=validation_batch_size or batch_size)
        epoch_iterator.reset()

    def evaluate(self, x: Any, batch_size: int | None = None) -> None:
        TFEpochIterator(x=x, batch_size=batch_size)

    def predict(self, x: Any) -> None:
        EpochIterator(x)

    def loop_of_mine(self, x: Any) -> None:
        EpochIterator(x)


def first_call(use: Callable[[Trainer, Adapter], object]) -> KerasCall | None:
    adapter = Adapter()
    use(Trainer(), adapter)
    return adapter.calls[0]


def test_fit_says_its_epochs_and_steps() -> None:
    call = first_call(
        lambda trainer, x: trainer.fit(x, epochs=7, initial_epoch=2, steps_per_epoch=5, steps_per_execution=3)
    )
    assert call is not None
    assert (call.method, call.epochs, call.initial_epoch) == ("fit", 7, 2)
    assert (call.steps_per_epoch, call.steps_per_execution) == (5, 3)


def test_reset_reads_the_length_and_is_no_call() -> None:
    adapter = Adapter()
    Trainer().fit(adapter)
    created, reset = adapter.calls
    assert created is not None
    assert reset is None
    assert isinstance(adapter.owners[1], EpochIterator)


def test_a_user_who_reads_the_length_is_no_call() -> None:
    adapter = Adapter()
    assert adapter.num_batches == 3
    assert adapter.calls == [None]
    assert adapter.owners == [None]


def test_the_iterator_for_validation_data_is_told_from_the_one_for_training() -> None:
    train, validation = Adapter(), Adapter()
    Trainer().fit(train, validation_data=validation, epochs=4)
    (call,) = validation.calls
    assert call is not None
    assert (call.method, call.epochs) == ("validation", 1)


@pytest.mark.parametrize(
    ("use", "method"),
    [
        (lambda trainer, x: trainer.evaluate(x), "evaluate"),
        (lambda trainer, x: trainer.predict(x), "predict"),
        (lambda trainer, x: trainer.loop_of_mine(x), "other"),
    ],
    ids=["evaluate", "predict", "other"],
)
def test_who_asks(use: Callable[[Trainer, Adapter], object], method: str) -> None:
    call = first_call(use)
    assert call is not None
    assert call.method == method
    assert call.first_epoch() == 0


@dataclass(frozen=True)
class Refused:
    id: str
    use: Callable[[Trainer, Adapter], object]
    says: str


@pytest.mark.parametrize(
    "case",
    [
        Refused(
            "class_weight",
            lambda trainer, x: trainer.fit(x, class_weight={0: 1.0}),
            r"class_weight=\{0: 1.0\}: .*aioloader.Loader\(class_weight=",
        ),
        Refused(
            "sample_weight",
            lambda trainer, x: trainer.fit(x, sample_weight=list(range(999))),
            r"sample_weight=\[0, 1, 2, 3, 4, 5, \.\.\.\]: .*aioloader.Loader\(sample_weight=",
        ),
        Refused(
            "batch_size of fit",
            lambda trainer, x: trainer.fit(x, batch_size=64),
            r"^batch_size=64: .*aioloader.Loader\(batch_size=",
        ),
        Refused(
            "batch_size of evaluate",
            lambda trainer, x: trainer.evaluate(x, batch_size=64),
            r"^batch_size=64: .*aioloader.Loader\(batch_size=",
        ),
        Refused("targets", lambda trainer, x: trainer.fit(x, y=[1, 0]), r"^y=\[1, 0\]: .*the loader"),
        Refused(
            "validation_batch_size",
            lambda trainer, x: trainer.fit(Adapter(), validation_data=x, validation_batch_size=8),
            r"^validation_batch_size=8: .*aioloader.Loader\(batch_size=",
        ),
    ],
    ids=lambda case: case.id,
)
def test_an_option_that_keras_would_ignore_is_refused_by_name(case: Refused) -> None:
    call = first_call(case.use)
    assert call is not None
    with pytest.raises(OptionError, match=case.says):
        call.refuse()


def test_a_batch_size_for_arrays_is_fine_where_only_the_validation_data_is_a_loader() -> None:
    call = first_call(lambda trainer, x: trainer.fit(Adapter(), batch_size=8, validation_data=x))
    assert call is not None
    assert call.refused == {}


def test_the_model_is_not_kept_alive_and_its_restored_epoch_is_read_late() -> None:
    class Restored(Trainer):
        _initial_epoch: int | None = None

    model = Restored()
    adapter = Adapter()
    model.fit(adapter, initial_epoch=1, epochs=5)
    call = adapter.calls[0]
    assert call is not None
    assert call.first_epoch() == 1
    model._initial_epoch = 3
    assert call.first_epoch() == 3
    del model
    assert call.model is not None
    assert call.model() is None
    assert call.first_epoch() == 1
