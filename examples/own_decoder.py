"""A decoder of your own that returns several fields and its own label, and augmentation that can be repeated.

    python examples/own_decoder.py                          with 300 generated pictures from a local server
    python examples/own_decoder.py https://host/images/     with yours: any URL or folder with a folder for each class

It needs nothing but aioloader. `decode=` takes any function of (data), (data, sample) or (data, sample, rng). For
files as they are there are `al.ImageDecoder`, `al.NpyDecoder` (.npy files, without pickle) and `al.RawDecoder` (bytes
of a known dtype).
"""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image
from sample_data import sample_bucket

import aioloader as al

Decoded = tuple[dict[str, Any], dict[str, Any]]  # (x, y); the values are arrays or numbers


def decode(data: bytes, sample: al.SampleRef) -> Decoded:
    """One file's bytes to ``(x, y)``, each a dict, as a Keras model with named inputs and outputs takes it.

    Whoever returns a tuple sets the label too; returning x alone would keep the dataset's, ``sample.label``.
    """
    with Image.open(io.BytesIO(data)) as picture:
        image = np.asarray(picture.convert("RGB").resize((48, 48)))
    fields = {"image": image, "file_kb": np.float32(len(data) / 1000)}
    labels = {"shape": np.int64(sample.label), "brightness": np.float32(image.mean() / 255)}
    return fields, labels


def augment(decoded: Decoded, rng: np.random.Generator) -> Decoded:
    """A random flip and brightness. ``rng`` depends on (seed, epoch, sample) only: never use np.random here."""
    fields, labels = decoded
    image = fields["image"]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    brighter = np.clip(image * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8)
    return fields | {"image": brighter}, labels


def main(url: str) -> None:
    data = al.image_folder(url)

    first_images = []
    for workers in (1, 4):
        with al.Loader(
            data, decode=decode, transform=augment, batch_size=32, shuffle=True, seed=0, workers=workers
        ) as loader:
            fields, labels = next(iter(loader))
        print(f"workers={workers}: a batch's fields are {shapes(fields)}, its labels {shapes(labels)}")
        first_images.append(fields["image"])  # arrays stay yours, also after the loader is closed

    print(f"the same augmented pixels whatever the workers: {np.array_equal(*first_images)}")


def shapes(arrays: dict[str, Any]) -> str:
    return ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in arrays.items())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with sample_bucket() as url:
            main(url)
