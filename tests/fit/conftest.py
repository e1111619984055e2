"""A recording batch source whose values say where they come from, and a model that notes what it saw."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.errors import StreamReplacedError
from aioloader.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Place = tuple[int, int]
"""An epoch and a step."""


def aligned(shape: tuple[int, ...], dtype: str = "float32", *, off_by_bytes: int = 0) -> NDArray[Any]:
    """Zeros whose address is a multiple of 64, plus ``off_by_bytes``."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + off_by_bytes
    return raw[start : start + nbytes].view(dtype).reshape(shape)


@dataclass(frozen=True)
class Opened:
    """One call of ``open_epoch``: the number given, the number asked for, how far it may fetch ahead."""

    epoch: int
    asked: int | None
    ahead: int


class RecordingStream:
    """The batches of one epoch of a `RecordingSource`."""

    def __init__(self, source: RecordingSource, epoch: int) -> None:
        self._source = source
        self._epoch = epoch
        self._step = 0
        self.state = "open"

    @property
    def epoch(self) -> int:
        return self._epoch

    def __iter__(self) -> RecordingStream:
        return self

    def __next__(self) -> Batch:
        if self.state == "replaced":
            raise StreamReplacedError("another iterator took over")
        if self.state != "open" or self._step == self._source.batches_given:
            self.state = "ended" if self.state == "open" else self.state
            raise StopIteration
        place = (self._epoch, self._step)
        if self._source.fail_at == place:
            self.state = "failed"
            raise self._source.error
        self._source.before_batch(place)
        self._source.pulled.append(place)
        self._step += 1
        return self._source.batch(place)

    def close(self) -> None:
        if self.state == "open":
            self.state = "closed"
        elif self.state == "ended":
            self.state = "closed after its end"  # a loader may drop what it fetched ahead


@dataclass(kw_only=True)
class RecordingSource:
    """A `BatchSource` that writes down every call; at most one stream is open, as a loader promises.

    ``x[:] = 1000 * epoch + step``. ``fields`` is one of ``"x"``, ``"xy"``, ``"xyw"``, ``"dict"``.
    """

    steps_per_epoch: int = 3
    batch_size: int = 2
    next_epoch: int = 0
    fields: str = "xy"
    fail_at: Place | None = None
    error: BaseException = field(default_factory=lambda: OSError("broken"))
    surplus_batches: int = 0
    before_batch: Callable[[Place], object] = lambda place: None
    opened: list[Opened] = field(default_factory=list)
    pulled: list[Place] = field(default_factory=list)
    streams: list[weakref.ReferenceType[RecordingStream]] = field(default_factory=list)

    @property
    def batches_given(self) -> int:
        return self.steps_per_epoch + self.surplus_batches

    def open_epoch(self, epoch: int | None = None, *, epochs_ahead: int = 0) -> RecordingStream:
        number = self.next_epoch if epoch is None else epoch
        self.opened.append(Opened(number, epoch, epochs_ahead))
        self.next_epoch = number + 1
        for stream in self._alive():
            if stream.state == "open":
                stream.state = "replaced"
        stream = RecordingStream(self, number)
        self.streams.append(weakref.ref(stream))
        return stream

    def batch(self, place: Place) -> Batch:
        epoch, step = place
        x = aligned((self.batch_size, 1))
        x[:] = 1000 * epoch + step
        y = aligned((self.batch_size, 1))
        weight = aligned((self.batch_size,))
        weight[:] = 1
        arrays = {"x": (x,), "xy": (x, y), "xyw": (x, y, weight), "dict": ({"a": x, "b": y}, y)}[self.fields]
        return Batch.build(
            arrays,
            sample_ids=np.arange(self.batch_size) + step * self.batch_size,
            valid=np.ones(self.batch_size, np.bool_),
            epoch=epoch,
            step=step,
        )

    def _alive(self) -> list[RecordingStream]:
        return [stream for ref in self.streams if (stream := ref()) is not None]

    @property
    def epochs(self) -> list[int]:
        """The numbers of the epochs opened, in order."""
        return [opened.epoch for opened in self.opened]

    @property
    def ahead(self) -> list[int]:
        """How many epochs each opening allowed to fetch ahead."""
        return [opened.ahead for opened in self.opened]

    @property
    def states(self) -> list[str]:
        """How each stream stands: open, ended, closed, replaced, failed, or dropped."""
        return ["dropped" if (stream := ref()) is None else stream.state for ref in self.streams]


class Seen:
    """What a model was given, in order: the phase (train, test, predict) and the values of ``x[:, 0]``."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []

    def note(self, phase: str, values: NDArray[Any]) -> None:
        self.batches.append((phase, [round(float(value)) for value in values]))

    def ids(self, phase: str) -> list[int]:
        """Every value of ``phase``."""
        return [value for name, values in self.batches if name == phase for value in values]

    @property
    def events(self) -> list[tuple[str, Place]]:
        """Phase, epoch and step of every batch of a `RecordingSource`."""
        return [(phase, divmod(values[0], 1000)) for phase, values in self.batches]

    def of(self, phase: str) -> list[Place]:
        return [place for name, place in self.events if name == phase]

    def epochs(self, phase: str) -> list[int]:
        """The epoch of every batch of ``phase``, each said once where it goes on."""
        numbers = [epoch for epoch, _ in self.of(phase)]
        return [number for before, number in zip([None, *numbers[:-1]], numbers, strict=True) if number != before]


@dataclass(frozen=True)
class Trained:
    """A compiled Keras model and what it has seen."""

    model: Any
    seen: Seen


def whole(epochs: list[int], steps: int) -> list[Place]:
    """Every place of ``epochs``, in order."""
    return [(epoch, step) for epoch in epochs for step in range(steps)]


@pytest.fixture(scope="session")
def new_model() -> Callable[..., Trained]:
    """``new_model(steps_per_execution=1)``: a tiny compiled model that records what it is given."""
    import keras
    import tensorflow as tf

    class Recorder(keras.Model):  # type: ignore[misc]  # Keras has no type information
        def __init__(self, seen: Seen) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(1, kernel_initializer="zeros")
            self._seen = seen

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs["a"] if isinstance(inputs, dict) else inputs)

        def _note(self, phase: str, data: Any) -> None:
            x = data[0]["a"] if isinstance(data[0], dict) else data[0]
            tf.py_function(lambda values: self._seen.note(phase, values.numpy()), [x[:, 0]], [])

        def train_step(self, data: Any) -> Any:
            self._note("train", data)
            return super().train_step(data)

        def test_step(self, data: Any) -> Any:
            self._note("test", data)
            return super().test_step(data)

        def predict_step(self, data: Any) -> Any:
            self._note("predict", data)
            return super().predict_step(data)

    def build(steps_per_execution: int = 1) -> Trained:
        seen = Seen()
        model = Recorder(seen)
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse", steps_per_execution=steps_per_execution)
        return Trained(model, seen)

    return build


@pytest.fixture(scope="session")
def _one_model(new_model: Callable[..., Trained]) -> Trained:
    return new_model()


@pytest.fixture
def trained(_one_model: Trained) -> Trained:
    """A model shared by the session, so that its steps are traced once; it has seen nothing yet."""
    _one_model.seen.batches.clear()
    return _one_model


@pytest.fixture
def source_of() -> type[RecordingSource]:
    """The class `RecordingSource`."""
    return RecordingSource


@pytest.fixture
def new_array() -> Callable[..., NDArray[Any]]:
    """``new_array(shape, dtype, off_by_bytes=0)``: an array at a chosen address modulo 64."""
    return aligned


@pytest.fixture
def places() -> Callable[[list[int], int], list[Place]]:
    """``places(epochs, steps)``: every (epoch, step), in order."""
    return whole
