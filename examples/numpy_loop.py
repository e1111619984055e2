"""A plain loop over numpy batches: one epoch, several epochs without a gap, and the figures of the run.

    python examples/numpy_loop.py                           with 300 generated pictures from a local server
    python examples/numpy_loop.py https://host/images/      with yours: any URL or folder with a folder for each class

It needs nothing but aioloader.
"""

import sys

import numpy as np
from sample_data import sample_bucket

import aioloader as al


def main(url: str) -> None:
    data = al.image_folder(url)
    print(data)

    with al.Loader(data, decode=al.ImageDecoder(size=(48, 48)), batch_size=32, shuffle=True, seed=0) as loader:
        # One `for` is one epoch: images are uint8 (32, 48, 48, 3), labels int64 (32,). When shuffling, the short last
        # batch is left out (drop_last="auto"); those are other samples in each epoch.
        pixel_sum = np.zeros(3)
        samples_of_class = np.zeros(len(data.classes or ()), np.int64)
        for images, labels in loader:
            pixel_sum += images.mean(axis=(1, 2)).sum(axis=0)
            samples_of_class += np.bincount(labels, minlength=len(samples_of_class))
        print(f"{len(loader)} batches, the last one {images.dtype}{images.shape}, {labels.dtype}{labels.shape}")
        print(f"samples of each class {samples_of_class}, mean colour {(pixel_sum / samples_of_class.sum()).round(1)}")

        # Epochs one after another: the next one is fetched while this one is consumed, each in an order of its own.
        # A batch knows where it comes from, too.
        for batch in loader.epochs(3):
            if batch.step == 0:
                print(f"epoch {batch.epoch} begins with samples {batch.sample_ids[:5]}")

        stats = loader.stats()  # a frozen record; loader.report() is the same as text
        print(
            f"{stats.samples} samples in {stats.elapsed_s:.2f} s, {stats.samples_per_s:.0f} a second; "
            f"waited {stats.data_wait_share:.0%} of the time; fetch p50 {stats.fetch.p50_s * 1000:.0f} ms"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with sample_bucket() as url:
            main(url)
