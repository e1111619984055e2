"""Trains a Keras model on images from a web server: list, split, load, `fit`, then what limited the run.

    python examples/train_keras.py                          with 300 generated pictures from a local server
    python examples/train_keras.py s3://bucket/train/       with yours: any URL or folder with a folder for each class

It needs TensorFlow: pip install 'aioloader[tensorflow]'
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: it is talkative

import keras
from sample_data import sample_bucket

import aioloader as al

IMAGE_SIZE = (48, 48)


def main(url: str) -> None:
    data = al.image_folder(url)  # class = folder name
    train, val = data.split(0.8, 0.2)  # by hashed key: a file stays in its part when others are added
    print(f"{len(train)} images to train on, {len(val)} to validate with, classes {data.classes}")

    # Batches are uint8: a quarter of float32's memory on the way; the model rescales them.
    decode = al.ImageDecoder(size=IMAGE_SIZE)
    model = make_model(len(data.classes or ()))

    with (
        al.Loader(train, decode=decode, batch_size=16, shuffle=True, seed=0) as loader,
        al.Loader(val, decode=decode, batch_size=16) as val_loader,
    ):
        history = model.fit(loader.to_keras(), validation_data=val_loader.to_keras(), epochs=8, verbose=2)
        print(loader.report())

    print(f"validation accuracy {history.history['val_accuracy'][-1]:.2f}")


def make_model(class_count: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((*IMAGE_SIZE, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(class_count),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with sample_bucket() as url:
            main(url)
