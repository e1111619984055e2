"""What the adapter refuses, in a sentence that says what to do instead."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.errors import LoaderClosedError, OptionError
from aioloader.fit import keras_adapter
from aioloader.fit.adapter import parse_version

if TYPE_CHECKING:
    from tests.fit.conftest import Place, RecordingSource, Trained

pytestmark = pytest.mark.keras

Sources = Callable[..., "RecordingSource"]
Places = Callable[[list[int], int], list["Place"]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"class_weight": {0: 1.0, 1: 10.0}}, r"aioloader\.Loader\(class_weight=\.\.\.\)"),
        ({"sample_weight": np.ones(6)}, r"aioloader\.Loader\(sample_weight=\.\.\.\)"),
        ({"batch_size": 64}, r"aioloader\.Loader\(batch_size=\.\.\.\)"),
        ({"y": np.ones(6)}, r"the targets come from the loader"),
    ],
    ids=["class_weight", "sample_weight", "batch_size", "y"],
)
def test_fit_refuses_what_keras_would_ignore(
    options: dict[str, Any], says: str, source_of: Sources, trained: Trained
) -> None:
    source = source_of()
    with pytest.raises(OptionError, match=says):
        trained.model.fit(keras_adapter(source), verbose=0, **options)
    assert source.opened == []


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_evaluate_and_predict_refuse_batch_size(method: str, source_of: Sources, trained: Trained) -> None:
    with pytest.raises(OptionError, match="batch_size=64"):
        getattr(trained.model, method)(keras_adapter(source_of()), batch_size=64, verbose=0)


def test_validation_refuses_a_batch_size_and_targets_of_its_own(source_of: Sources, trained: Trained) -> None:
    validation = keras_adapter(source_of())
    with pytest.raises(OptionError, match="validation_batch_size=8"):
        trained.model.fit(keras_adapter(source_of()), validation_data=validation, validation_batch_size=8, verbose=0)
    with pytest.raises(OptionError, match=r"y=array"):
        trained.model.fit(keras_adapter(source_of()), validation_data=(validation, np.ones((6, 1))), verbose=0)


def test_arrays_may_be_validated_on_a_loader_with_a_batch_size_for_the_arrays(
    source_of: Sources, trained: Trained, places: Places
) -> None:
    x = np.zeros((8, 1), np.float32)
    trained.model.fit(x, x, batch_size=4, validation_data=keras_adapter(source_of()), verbose=0)
    assert trained.seen.of("test") == places([0], 3)


def test_validation_split_is_refused_by_keras(source_of: Sources, trained: Trained) -> None:
    with pytest.raises(ValueError, match="`validation_split` is only supported for tensors or NumPy arrays"):
        trained.model.fit(keras_adapter(source_of()), validation_split=0.2, verbose=0)


def test_an_epoch_without_a_batch_is_refused_by_name(source_of: Sources, trained: Trained) -> None:
    with pytest.raises(OptionError, match="batch_size"):
        trained.model.fit(keras_adapter(source_of(steps_per_epoch=0)), verbose=0)


def test_a_distribution_strategy_is_refused_by_name(source_of: Sources, new_model: Callable[..., Trained]) -> None:
    import tensorflow as tf

    source = source_of()
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = new_model().model
    with pytest.raises(OptionError, match=r"MirroredStrategy.*one replica only"):
        model.fit(keras_adapter(source), verbose=0)
    assert source.opened == []


@pytest.mark.parametrize("use", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_adapter_cannot_be_pickled_or_copied(use: Callable[[Any], Any], source_of: Sources) -> None:
    with pytest.raises(TypeError, match="create the Loader in the process that trains"):
        use(keras_adapter(source_of()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_adapter_refuses_a_forked_child(source_of: Sources) -> None:
    adapter = keras_adapter(source_of())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # TensorFlow's threads are not here: touch nothing but the adapter
        said = ""
        try:
            said = f"no error, {adapter.num_batches} batches"
        except LoaderClosedError as exc:
            said = str(exc)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert f"belongs to process {os.getpid()} and does not work in a forked child" in said


def test_who_is_not_keras_is_warned_and_served_all_the_same(source_of: Sources, places: Places) -> None:
    source = source_of()
    adapter = keras_adapter(source)
    with pytest.warns(RuntimeWarning, match="does not recognise who asks it for batches"):
        seen = [divmod(int(x[0, 0]), 1000) for x, _ in adapter.get_tf_dataset()]
    seen += [(batch.epoch, batch.step) for batch in adapter.get_numpy_iterator(super_batch=2)]
    assert seen == places([0, 1], 3)


def test_the_adapter_says_its_sizes(source_of: Sources) -> None:
    adapter = keras_adapter(source_of(steps_per_epoch=5, batch_size=7))
    assert (adapter.num_batches, adapter.batch_size) == (5, 7)


def test_an_old_keras_is_refused(source_of: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(keras, "__version__", "3.6.0")
    with pytest.raises(ImportError, match=r"Keras 3\.6\.0 is too old: to_keras\(\) needs Keras 3\.7"):
        keras_adapter(source_of())


def test_a_keras_whose_data_adapter_has_moved_is_named(source_of: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras.src.trainers.data_adapters.data_adapter", None)
    monkeypatch.delitem(sys.modules, "aioloader.fit.data_adapter", raising=False)
    with pytest.raises(ImportError, match="does not have what aioloader feeds it through"):
        keras_adapter(source_of())


def test_a_missing_keras_says_what_to_install(source_of: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"pip install 'aioloader\[tensorflow\]'"):
        keras_adapter(source_of())


def test_another_backend_is_refused_by_name(source_of: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(OptionError, match="KERAS_BACKEND='jax': expected 'tensorflow'"):
        keras_adapter(source_of())


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.15.1", (3, 15)), ("3.16.0.dev2026", (3, 16)), ("2.15.0", (2, 15)), ("unknown", (0, 0))],
)
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


def test_importing_the_package_imports_no_keras() -> None:
    code = "import sys, aioloader.fit; sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
