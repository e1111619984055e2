"""`aioloader.keras.Monitor` in real fits: what it writes down is what the loader counted, epoch by epoch."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.conftest import ASKED_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from aioloader.monitor.stats import LoaderStats
    from aioloader.serve.bucket import LocalBucket
    from tests.fit.conftest import Trained

pytestmark = pytest.mark.keras

N_SAMPLES = 48
NAMES = {
    "data_wait_share",
    "data_wait_s",
    "samples_per_s",
    "occupancy",
    "in_flight",
    "decoders_busy",
    "fetch_p50_s",
    "fetch_p99_s",
    "retries",
    "skipped",
}


def decode(data: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    number = np.array([int(data)], np.float32)
    return number, number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers")
    for number in range(N_SAMPLES):
        (root / f"{number:02d}.txt").write_text(str(number))
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LocalBucket]:
    """Each answer takes 20 ms."""
    with serve_in_thread(folder, Manners(latency_s=0.02)) as bucket:
        yield bucket


def new_loader(url: str, **options: Any) -> al.Loader:
    data = al.from_samples([f"{number:02d}.txt" for number in range(N_SAMPLES)], root=url)
    return al.Loader(data, decode=decode, **{"batch_size": 8, "concurrency": 8, "retry": ASKED_ONCE, **options})


def epoch_end(do: Callable[[int], object]) -> Any:
    import keras

    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: do(epoch))


def pauses(seconds: float) -> Any:
    """A callback that takes so long after each batch: a slow model."""
    import keras

    class Slow(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            time.sleep(seconds)

    return Slow()


def test_every_epoch_has_the_figures_that_the_loader_counted_in_it(server: LocalBucket, trained: Trained) -> None:
    seen: list[LoaderStats] = []
    with new_loader(server.url) as loader:
        seen.append(loader.stats())
        callbacks = [al.keras.Monitor(loader), epoch_end(lambda _: seen.append(loader.stats()))]
        started = time.monotonic()
        history = trained.model.fit(loader.to_keras(), epochs=3, callbacks=callbacks, verbose=0).history
        took_s = time.monotonic() - started
    logged = {name.removeprefix("loader/"): values for name, values in history.items() if name.startswith("loader/")}
    assert set(logged) == NAMES
    waits_s = [after.data_wait_s - before.data_wait_s for before, after in pairwise(seen)]
    assert logged["data_wait_s"] == pytest.approx(waits_s)
    for epoch in range(3):
        figures = {name: values[epoch] for name, values in logged.items()}
        epoch_s = N_SAMPLES / figures["samples_per_s"]
        assert figures["data_wait_s"] / epoch_s == pytest.approx(figures["data_wait_share"])
        assert 0 < figures["data_wait_share"] <= 1
        assert 0 <= figures["occupancy"] <= 1
        assert 0.02 <= figures["fetch_p50_s"] <= figures["fetch_p99_s"]
        assert 0 < figures["in_flight"] < 16  # a fetch is counted where it ends
        assert figures["retries"] == figures["skipped"] == 0
        assert all(isinstance(value, float) for value in figures.values())
    assert sum(N_SAMPLES / per_s for per_s in logged["samples_per_s"]) <= took_s


def test_a_csv_logger_after_it_writes_the_figures(server: LocalBucket, trained: Trained, tmp_path: Path) -> None:
    import keras

    table = tmp_path / "log.csv"
    with new_loader(server.url) as loader:
        callbacks = [al.keras.Monitor(loader), keras.callbacks.CSVLogger(str(table))]
        history = trained.model.fit(loader.to_keras(), epochs=2, callbacks=callbacks, verbose=0).history
    with table.open() as file:
        rows = list(csv.DictReader(file))
    for name in NAMES:
        assert [float(row[f"loader/{name}"]) for row in rows] == pytest.approx(history[f"loader/{name}"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, of TF's summaries
def test_tensorboard_after_it_writes_the_figures(server: LocalBucket, trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorFlow writes scalars through it")
    import keras
    import tensorflow as tf

    with new_loader(server.url) as loader:
        board = keras.callbacks.TensorBoard(str(tmp_path / "runs"), write_graph=False)
        callbacks = [al.keras.Monitor(loader), board]
        history = trained.model.fit(loader.to_keras(), epochs=2, callbacks=callbacks, verbose=0).history
    written: dict[str, list[float]] = {}
    for path in (tmp_path / "runs").rglob("*.tfevents*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                written.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    for name in NAMES:
        assert written[f"epoch_loader/{name}"] == pytest.approx(history[f"loader/{name}"], rel=1e-5)


def test_what_validation_takes_is_not_the_epochs_and_its_own_monitor_has_it(
    server: LocalBucket, trained: Trained
) -> None:
    import keras

    class SlowTests(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_test_batch_end(self, batch: int, logs: object = None) -> None:
            time.sleep(0.2)

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            began.append(time.monotonic())

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            epochs_s.append(time.monotonic() - began[-1])

    began: list[float] = []
    epochs_s: list[float] = []
    with new_loader(server.url) as train, new_loader(server.url, batch_size=24) as validation:
        callbacks = [
            Clock(),
            al.keras.Monitor(train),
            al.keras.Monitor(validation, prefix="val_loader/"),
            SlowTests(),
        ]
        history = trained.model.fit(
            train.to_keras(), epochs=2, validation_data=validation.to_keras(), callbacks=callbacks, verbose=0
        ).history
        trained.model.evaluate(validation.to_keras(), callbacks=callbacks, verbose=0)
    for epoch in range(2):
        figures = {name: values[epoch] for name, values in history.items()}
        waited_s, share = figures["loader/data_wait_s"], figures["loader/data_wait_share"]
        trained_s, validated_s = (N_SAMPLES / figures[f"{name}/samples_per_s"] for name in ("loader", "val_loader"))
        assert waited_s / share == pytest.approx(trained_s)
        assert validated_s > 0.4, "two pauses of 200 ms lie in it"
        assert trained_s + validated_s < epochs_s[epoch] + 0.05  # Monitor's own end comes after the clock's
        assert figures["val_loader/fetch_p50_s"] >= 0.02


def test_two_fits_and_initial_epoch_keep_the_verdict_of_every_epoch(server: LocalBucket, trained: Trained) -> None:
    with new_loader(server.url) as loader:
        monitor = al.keras.Monitor(loader)
        trained.model.fit(loader.to_keras(), epochs=2, callbacks=[monitor], verbose=0)
        assert sorted(monitor.verdicts) == [0, 1]
        history = trained.model.fit(loader.to_keras(), initial_epoch=2, epochs=4, callbacks=[monitor], verbose=0)
        assert sorted(monitor.verdicts) == [0, 1, 2, 3]
        assert len(history.history["loader/samples_per_s"]) == 2
        assert all(verdict.sentence for verdict in monitor.verdicts.values())


def test_an_epoch_that_is_stopped_counts_what_it_had(server: LocalBucket, trained: Trained) -> None:
    import keras

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type information
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.model.stop_training = batch == 1

    with new_loader(server.url) as loader:
        started = time.monotonic()
        monitor = al.keras.Monitor(loader)
        history = trained.model.fit(loader.to_keras(), epochs=3, callbacks=[monitor, Stop()], verbose=0).history
        took_s = time.monotonic() - started
        assert loader.stats().samples == 16
    assert [len(values) for name, values in history.items() if name.startswith("loader/")] == [1] * len(NAMES)
    assert 16 / history["loader/samples_per_s"][0] <= took_s


def test_a_slow_model_is_said_to_be_the_limit(
    server: LocalBucket, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_loader(server.url, concurrency=32) as loader:
        monitor = al.keras.Monitor(loader)
        callbacks = [monitor, pauses(0.3)]
        history = trained.model.fit(loader.to_keras(), epochs=2, callbacks=callbacks, verbose=2).history
    assert [verdict.limit for verdict in monitor.verdicts.values()] == ["consumer", "consumer"]
    assert history["loader/data_wait_share"][1] < 0.2
    assert history["loader/occupancy"][1] > 0.5
    said = capsys.readouterr().out
    assert said.count("aioloader, epoch") == 1, "the same limit is not said again"
    assert "aioloader, epoch 1: consumer" in said


def test_a_slow_server_is_said_to_be_the_limit(folder: Path, trained: Trained) -> None:
    with (
        serve_in_thread(folder, Manners(latency_s=0.25)) as slow,
        new_loader(slow.url, concurrency=4) as loader,
    ):
        monitor = al.keras.Monitor(loader)
        history = trained.model.fit(loader.to_keras(), epochs=2, callbacks=[monitor], verbose=0).history
    verdict = monitor.verdicts[1]
    assert verdict.limit == "network latency"
    assert verdict.knob.startswith("concurrency=")
    assert history["loader/data_wait_share"][1] > 0.8
    assert history["loader/in_flight"][1] == pytest.approx(4, rel=0.3)


def test_a_silent_fit_prints_nothing(server: LocalBucket, trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    with new_loader(server.url) as loader:
        trained.model.fit(loader.to_keras(), callbacks=[al.keras.Monitor(loader)], verbose=0)
    assert capsys.readouterr().out == ""


def test_nothing_is_done_for_a_batch_and_an_epoch_without_data_has_no_quantiles(
    server: LocalBucket, trained: Trained
) -> None:
    import keras

    plain = keras.callbacks.Callback
    for name in ("on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin", "on_test_batch_end"):
        assert getattr(al.keras.Monitor, name) is getattr(plain, name)
    assert al.keras.Monitor.async_safe
    with new_loader(server.url) as loader, new_loader(server.url) as idle:
        monitor = al.keras.Monitor(idle)
        history = trained.model.fit(loader.to_keras(), callbacks=[monitor], verbose=0).history
    assert history["loader/samples_per_s"] == [0]
    assert math.isnan(history["loader/fetch_p50_s"][0])
    assert monitor.verdicts[0].limit == "startup"


def test_a_page_is_there_after_each_epoch_and_names_the_limit(
    server: LocalBucket, trained: Trained, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    sizes: list[int] = []
    with new_loader(server.url) as loader:
        callbacks = [al.keras.Monitor(loader, html=page), epoch_end(lambda _: sizes.append(page.stat().st_size))]
        trained.model.fit(loader.to_keras(), epochs=2, callbacks=callbacks, verbose=0)
        text = page.read_text()
        assert loader.verdict().limit in text
    assert len(sizes) == 2
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"], "no temporary file is left"


@pytest.mark.parametrize("name", ["missing/report.html", "a name that is none \0"])
def test_a_page_that_cannot_be_written_does_not_end_the_training(
    server: LocalBucket, trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with new_loader(server.url) as loader:
        monitor = al.keras.Monitor(loader, html=tmp_path / name)
        trained.model.fit(loader.to_keras(), epochs=2, callbacks=[monitor], verbose=0)
    assert "could not be written" in caplog.text
    assert len(monitor.verdicts) == 2


@pytest.mark.parametrize("ending", ["raise RuntimeError('mid-epoch')", "os.kill(os.getpid(), signal.SIGINT)"])
def test_the_page_is_written_when_a_fit_that_broke_off_ends_the_program(
    folder: Path, tmp_path: Path, ending: str
) -> None:
    program = f"""
import os, signal
import keras, numpy as np
import aioloader as al

class BreaksOff(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            {ending}

def main():
    data = al.from_samples([f"{{number:02d}}.txt" for number in range(48)], root={str(folder)!r})
    with al.Loader(data, decode=lambda body: (np.array([int(body)], np.float32),) * 2, batch_size=8) as loader:
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile(loss="mse")
        monitor = al.keras.Monitor(loader, html="report.html")
        model.fit(loader.to_keras(), callbacks=[monitor, BreaksOff()], verbose=0)

main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode != 0
    assert "mid-epoch" in ended.stderr or "KeyboardInterrupt" in ended.stderr
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>"), ended.stderr


def test_what_is_kept_does_not_grow_with_the_epochs(server: LocalBucket, trained: Trained) -> None:
    with new_loader(server.url) as loader:
        monitor = al.keras.Monitor(loader)
        for _ in range(3):
            trained.model.fit(loader.to_keras(), callbacks=[monitor], verbose=0)
            kept = {name for name, value in vars(monitor).items() if value is not None}
            assert not kept & {"_trained", "_tested"}, "snapshots are let go at the epoch's end"
        assert len(loader.timeline) <= 512
