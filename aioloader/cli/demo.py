"""``aioloader demo``: real images from a slow bucket into ``model.fit``, in about a minute."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from aioloader.cli.quiet_import import quiet_stderr
from aioloader.cli.units import duration_s
from aioloader.errors import OptionError

if TYPE_CHECKING:
    import argparse

_BATCH_SIZE = 32
_IMAGE_SIZE = (32, 32)
_READS_ONE_BY_ONE = 100
_ACCURACY_WANTED = 0.9


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add ``demo`` to ``commands``."""
    parser = commands.add_parser(
        "demo",
        help="train on real images from a slow local bucket, in about a minute",
        description="Write scikit-learn's 1,797 handwritten digits as image files, serve them over HTTP with "
        "latency, train a small Keras model on them, and compare with reading one file after another.",
        parents=[shared],
    )
    add = parser.add_argument
    add("--latency", type=duration_s, default=0.03, metavar="TIME",
        help="the bucket's, before each answer (default: 30ms)")  # fmt: skip
    add("--epochs", type=int, default=3, metavar="N", help="how often to go through the digits (default: 3)")
    add("--dir", type=Path, default=None, metavar="PATH",
        help="where to write the digits and leave them (default: a temporary folder)")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo; 0 where the model learned, 1 where it did not, 2 where a package is missing."""
    if options.epochs < 1:
        raise OptionError("epochs", repr(options.epochs), "1 or more")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # what the demo extra installs
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("starting TensorFlow, which takes a while ...", flush=True)
    try:
        with quiet_stderr():
            import keras  # noqa: F401 (a missing package is found before anything is written)
            import sklearn  # noqa: F401
            import tensorflow  # noqa: F401
    except ModuleNotFoundError as exc:
        print(f"aioloader: the demo needs {exc.name}: pip install 'aioloader[demo]'", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = options.dir or Path(stack.enter_context(TemporaryDirectory(prefix="aioloader-demo-")))
        return _demo(folder, options.latency, options.epochs, stack)


def _demo(folder: Path, latency_s: float, epochs: int, stack: ExitStack) -> int:
    from aioloader.cli.bucket_process import bucket_process
    from aioloader.cli.digits import write_digits
    from aioloader.cli.epoch_bars import EpochBars
    from aioloader.cli.one_by_one import seconds_per_read
    from aioloader.dataset.image_folder import image_folder
    from aioloader.decode.image import ImageDecoder
    from aioloader.loader import Loader

    keys = write_digits(folder)
    url = stack.enter_context(bucket_process(folder, latency_s))
    print(f"{len(keys):,} handwritten digits, a PNG file each, at {url}train/ with {latency_s * 1000:g} ms latency")
    data = image_folder(url + "train/")
    train, val = data.split(0.9, 0.1)
    print(f"{len(train):,} to train on, {len(val):,} to validate with\n", flush=True)

    decode = ImageDecoder(size=_IMAGE_SIZE, mode="L")
    loader = Loader(train, decode=decode, batch_size=_BATCH_SIZE, shuffle=True, seed=0)
    val_loader = Loader(val, decode=decode, batch_size=_BATCH_SIZE, drop_last=False)
    bars = EpochBars(epochs, loader.steps_per_epoch)
    model = _model()
    with loader, val_loader, bars:
        history = model.fit(
            loader.to_keras(),
            validation_data=val_loader.to_keras(),
            epochs=epochs,
            verbose=0,
            callbacks=[bars.callback()],
        )
    accuracy = history.history["val_accuracy"][-1]
    print()
    print(loader.report())
    print()
    read_s = seconds_per_read(url, keys[:: len(keys) // _READS_ONE_BY_ONE][:_READS_ONE_BY_ONE])
    _compare(loader.steps_per_epoch * _BATCH_SIZE, read_s, min(bars.train_seconds))
    print(f"\nvalidation accuracy {accuracy:.3f}")
    if accuracy <= _ACCURACY_WANTED:
        print(f"that is not above {_ACCURACY_WANTED}: try more --epochs", file=sys.stderr)
        return 1
    return 0


def _model() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((*_IMAGE_SIZE, 1)),
            keras.layers.Rescaling(1 / 255),
            # A digit has 8x8 pixels, shown four times as large: a stride of 4 goes from one to the next.
            keras.layers.Conv2D(32, 8, strides=4, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _compare(samples: int, read_s: float, epoch_s: float) -> None:
    one_by_one_s = samples * read_s
    print(
        f"an epoch, one file after another   {one_by_one_s:6.1f} s"
        f"   ({samples:,} x {read_s * 1000:.1f} ms, from {_READS_ONE_BY_ONE} reads)"
    )
    print(
        f"an epoch with this loader          {epoch_s:6.1f} s"
        f"   (training included; {one_by_one_s / epoch_s:.0f} times as fast)"
    )
