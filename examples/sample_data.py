"""What the examples run on when they are given nothing: 300 generated pictures of three shapes.

Each is a 48x48 PNG of one shape in a random colour, size and place on a noisy background; its folder is its class:
``circle/0000.png``, ``square/0000.png``, ``triangle/0000.png``. They are the same in every run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw

from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread

SHAPES = ("circle", "square", "triangle")
PER_SHAPE = 100
SIDE_PIXELS = 48


@contextmanager
def sample_folder() -> Iterator[Path]:
    """A temporary folder with the pictures."""
    with TemporaryDirectory(prefix="aioloader-example-") as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        for shape in SHAPES:
            (folder / shape).mkdir()
            for number in range(PER_SHAPE):
                _picture(shape, rng).save(folder / shape / f"{number:04}.png")
        yield folder


@contextmanager
def sample_bucket() -> Iterator[str]:
    """The URL of the same folder, served over HTTP by a thread of this process with 20 ms of latency."""
    with sample_folder() as folder, serve_in_thread(folder, Manners(latency_s=0.02)) as bucket:
        yield bucket.url


def _picture(shape: str, rng: np.random.Generator) -> Image.Image:
    noise = rng.integers(0, 100, (SIDE_PIXELS, SIDE_PIXELS, 3), np.uint8)
    picture = Image.fromarray(noise)
    radius = rng.integers(8, 18)
    x, y = rng.integers(radius, SIDE_PIXELS - radius, 2)
    red, green, blue = rng.integers(130, 256, 3)
    sides = {"triangle": 3, "square": 4, "circle": 36}[shape]
    circle, colour = (int(x), int(y), int(radius)), (int(red), int(green), int(blue))
    ImageDraw.Draw(picture).regular_polygon(circle, sides, fill=colour)
    return picture
