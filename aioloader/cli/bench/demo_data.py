"""Generated JPEGs for who has no data at hand: they cost what photos of their size cost to decode."""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

PICTURES = 96
NAMES_EACH = 48
"""Every picture under so many names: fast modes read thousands of samples, and making each would take longer."""
CLASSES = 8
_WIDTH, _HEIGHT = 400, 300


def write_pictures(folder: Path, pictures: int = PICTURES, names_each: int = NAMES_EACH) -> int:
    """``pictures`` x ``names_each`` files ``class/number.jpg`` below ``folder``, which is empty; returns how many."""
    import numpy as np

    noise = np.random.default_rng(0)
    for name in range(CLASSES):
        (folder / f"class {name}").mkdir(parents=True)
    for number in range(pictures):
        first = folder / f"class {number % CLASSES}" / f"{number:05d}.jpg"
        first.write_bytes(_picture(noise))
        for copy in range(1, names_each):
            other = number + copy * pictures
            _again(first, folder / f"class {other % CLASSES}" / f"{other:05d}.jpg")
    return pictures * names_each


def _again(first: Path, other: Path) -> None:
    try:
        os.link(first, other)
    except OSError:  # a file system without links
        shutil.copyfile(first, other)


def _picture(noise: np.random.Generator) -> bytes:
    """Coloured clouds at several scales and some grain; about 40 kB."""
    import numpy as np
    from PIL import Image

    pixels = np.zeros((_HEIGHT, _WIDTH, 3), np.float32)
    for cells, strength in ((4, 90), (16, 45), (64, 20)):
        clouds = noise.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
        larger = Image.fromarray(clouds).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
        pixels += (np.asarray(larger, np.float32) - 128) * (strength / 74)
    pixels += noise.normal(0, 6, (_HEIGHT, _WIDTH, 1)).astype(np.float32) + 128
    body = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(body, "JPEG", quality=90, subsampling=2)
    return body.getvalue()
