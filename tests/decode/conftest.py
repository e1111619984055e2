"""Image files made with Pillow, and the sample they are decoded for."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aioloader.types import SampleRef

Encode = Callable[..., bytes]


@pytest.fixture
def sample() -> SampleRef:
    return SampleRef(index=7, key="train/cat/007.jpg")


@pytest.fixture
def encode() -> Encode:
    """``encode(pixels or image, format, **options) -> bytes``."""

    def to_bytes(picture: Any, image_format: str, **options: Any) -> bytes:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        buffer = io.BytesIO()
        image.save(buffer, image_format, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture
def photo() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A smooth uint8 picture (60, 80, 3) without symmetry, so that every turn of it differs."""
    rows, columns = np.mgrid[0:60, 0:80]
    red = rows * 4
    green = columns * 3
    blue = 127 + 100 * np.sin(rows / 9) * np.cos(columns / 13)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)
