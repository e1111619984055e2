"""The 1,797 handwritten digits that scikit-learn carries, as image files in class folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path


def write_digits(folder: Path) -> list[str]:
    """Write every digit as an 8x8 gray PNG, ``train/<class>/<number>.png``; returns the keys.

    Files of an earlier run are written again. Raises `OptionError` naming ``dir`` where ``train`` holds anything
    else, as it would be trained on, and ModuleNotFoundError without scikit-learn.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Gray levels come as 0 to 16; a PNG's go from 0 to 255.
    pixels = (digits.images * (255 / 16)).round().astype("uint8")
    keys = [f"train/{label}/{number:04d}.png" for number, label in enumerate(digits.target)]
    foreign = {_key(path, folder) for path in (folder / "train").rglob("*") if path.is_file()} - set(keys)
    if foreign:
        raise OptionError("dir", repr(str(folder)), f"a folder without other files: {min(foreign)} is not a digit")
    for label in range(10):
        (folder / "train" / str(label)).mkdir(parents=True, exist_ok=True)
    for key, image in zip(keys, pixels, strict=True):
        Image.fromarray(image).save(folder / key)
    return keys


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
