"""How a fit ends: early, by an error, by Ctrl-C, by being left alone."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.errors import DecodeError
from aioloader.fit import keras_adapter
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread

if TYPE_CHECKING:
    from tests.fit.conftest import Place, RecordingSource, Trained

pytestmark = pytest.mark.keras

PROMISED_S = 2.0
"""From Ctrl-C to the traceback; 0.1 s on a quiet machine."""

Sources = Callable[..., "RecordingSource"]
Places = Callable[[list[int], int], list["Place"]]


def stop_after(batches: int) -> Any:
    """A callback that sets ``stop_training`` after so many batches."""
    import keras

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        left = batches

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.left -= 1
            self.model.stop_training = self.left <= 0

    return Stop()


def test_a_fit_stopped_in_mid_epoch_leaves_no_stream_to_the_next(
    source_of: Sources, trained: Trained, places: Places
) -> None:
    source = source_of(steps_per_epoch=8)
    adapter = keras_adapter(source)
    trained.model.fit(adapter, epochs=3, callbacks=[stop_after(3)], verbose=0)
    assert trained.seen.of("train") == places([0], 3)
    trained.seen.batches.clear()
    states: list[str] = []
    source.before_batch = lambda place: states.extend(source.states)
    trained.model.fit(adapter, epochs=1, verbose=0)
    assert trained.seen.of("train") == places([1], 8)
    assert states[0] in {"closed", "dropped"}


def test_a_fit_stopped_in_mid_epoch_lets_its_stream_go_when_collected(source_of: Sources, trained: Trained) -> None:
    source = source_of(steps_per_epoch=8)
    adapter = keras_adapter(source)
    trained.model.fit(adapter, epochs=3, callbacks=[stop_after(3)], verbose=0)
    gc.collect()  # Keras leaves its epoch iterator in a cycle
    assert source.states == ["dropped"]
    assert adapter.num_batches == 8


def test_a_fit_stopped_between_epochs_lets_what_was_fetched_ahead_go_at_once(
    source_of: Sources, trained: Trained
) -> None:
    import keras

    source = source_of(steps_per_epoch=4)
    adapter = keras_adapter(source)
    # Its baseline is never met: with patience=0 it stops after the second of five epochs.
    impatient = keras.callbacks.EarlyStopping(monitor="loss", patience=0, baseline=-1.0)
    gc.disable()
    try:
        trained.model.fit(adapter, epochs=5, callbacks=[impatient], verbose=0)
        assert source.ahead == [4, 3]
        assert source.states == ["dropped", "dropped"]
    finally:
        gc.enable()
    assert adapter.num_batches == 4


def test_an_error_arrives_as_it_was_raised_and_the_next_fit_works(
    source_of: Sources, trained: Trained, places: Places
) -> None:
    error = DecodeError("not a JPEG", "train/7.jpg", "Replace it.", sample_id=7)
    error.__cause__ = cause = ValueError("marker 0xffd9")
    source = source_of(fail_at=(1, 2), error=error)
    adapter = keras_adapter(source)
    with pytest.raises(DecodeError, match="sample 7") as caught:
        trained.model.fit(adapter, epochs=3, verbose=0)
    assert caught.value is error
    assert trained.seen.of("train") == [*places([0], 3), (1, 0), (1, 1)]
    # Keras re-raises `from None`: what remains of the cause is the context, and the note that is printed.
    assert caught.value.__context__ is cause
    assert caught.value.__notes__ == ["Caused by ValueError: marker 0xffd9"]
    assert any(entry.path == Path(__file__) for entry in caught.traceback)
    trained.seen.batches.clear()
    trained.model.fit(adapter, epochs=2, verbose=0)
    assert trained.seen.of("train") == places([2, 3], 3)
    assert "open" not in source.states


def test_an_error_in_validation_arrives_as_it_was_raised(source_of: Sources, trained: Trained) -> None:
    validation = source_of(fail_at=(1, 0), error=KeyError("gone"))
    with pytest.raises(KeyError, match="gone"):
        trained.model.fit(keras_adapter(source_of()), epochs=3, validation_data=keras_adapter(validation), verbose=0)
    assert trained.seen.epochs("train") == [0, 1]


def test_an_error_in_a_callback_leaves_no_stream_to_the_next_fit(
    source_of: Sources, trained: Trained, places: Places
) -> None:
    import keras

    class Fail(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise RuntimeError("mine")

    source = source_of()
    adapter = keras_adapter(source)
    with pytest.raises(RuntimeError, match="mine"):
        trained.model.fit(adapter, epochs=2, callbacks=[Fail()], verbose=0)
    trained.seen.batches.clear()
    trained.model.fit(adapter, verbose=0)
    assert trained.seen.of("train") == places([1], 3)
    assert "open" not in source.states


@pytest.mark.parametrize("feeds", ["source", "loader"])
def test_ctrl_c_ends_a_fit_that_waits_for_a_batch(feeds: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"")
    script = Path(__file__).with_name("waits_for_ever.py")
    with (
        serve_in_thread(tmp_path, Manners(latency_s=3600.0)) as silent,
        subprocess.Popen(
            [sys.executable, str(script), "source" if feeds == "source" else silent.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        ) as child,
    ):
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            assert child.stdout.readline() == "waiting\n"
            child.send_signal(signal.SIGINT)
            sent_s = time.monotonic()
            for line in child.stderr:
                if line.startswith("Traceback"):
                    break
            heard_s = time.monotonic() - sent_s
            complaint, said = child.stderr.read(), child.stdout.read()
            child.wait(timeout=20)  # TensorFlow's own exit takes a second
        finally:
            child.kill()
    assert heard_s < 10 * PROMISED_S, "a ceiling for noisy machines; a wait that hears nothing lasts for an hour"
    assert child.returncode == -signal.SIGINT, complaint
    assert "model.fit(adapter, epochs=1, callbacks=callbacks, verbose=0)  # the user's line" in complaint
    assert complaint.rstrip().endswith("KeyboardInterrupt")
    assert said == ("closed\n" if feeds == "source" else "")
