"""A dataset written down as CSV: which files, which labels, and how much each sample counts.

    python examples/manifest_csv.py                                    with generated pictures, and a CSV for them
    python examples/manifest_csv.py labels.csv s3://bucket/images/     with yours; columns: key, label (text), weight

It needs nothing but aioloader. The CSV may lie anywhere (a folder, a URL); its keys are relative to ``root``, which is
another place here. JSON lines and Parquet are read the same way; `al.from_dataframe` takes a table that is in memory.
"""

import csv
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sample_data import SHAPES, sample_bucket

import aioloader as al


def main(manifest_url: str, root: str) -> None:
    # Text labels become class ids; every column that is not used otherwise is carried along.
    data = al.manifest(manifest_url, root=root)
    print(f"{len(data)} samples, classes {data.classes}, further columns {sorted(data.columns)}")
    print(f"the first one: {data[0].key}, label {data[0].label}, {dict(data[0].columns)}")

    # sample_weight names a column: batches get a third array, which model.fit(loader.to_keras()) weighs losses by.
    with al.Loader(data, decode=al.ImageDecoder(size=(48, 48)), batch_size=32, sample_weight="weight") as loader:
        weight_of_class = np.zeros(len(data.classes or ()))
        weighted_brightness = 0.0
        for images, labels, weights in loader:
            weight_of_class += np.bincount(labels, weights, minlength=len(weight_of_class))
            weighted_brightness += (weights * images.mean(axis=(1, 2, 3))).sum()
    print(f"weight of each class {weight_of_class}")
    print(f"weighted mean brightness {weighted_brightness / weight_of_class.sum():.1f} of 255")


def write_manifest(path: Path) -> None:
    """A row for each picture; triangles count twice."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "label", "weight", "photographer"])
        for shape in SHAPES:
            for number in range(20):
                rows.writerow([f"{shape}/{number:04}.png", shape, 2.0 if shape == "triangle" else 1.0, "nobody"])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(sys.argv[1], sys.argv[2])
    else:
        with sample_bucket() as url, TemporaryDirectory() as folder:
            manifest_path = Path(folder) / "labels.csv"
            write_manifest(manifest_path)
            main(str(manifest_path), url)
