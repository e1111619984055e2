"""JPEGs that cost what photos cost to decode: natural spectrum, edges, grain, some 2.8 bits a pixel.

Noise of the wrong kind would decode at another speed: white noise has no zero coefficients to skip, a smooth
gradient nothing but them. Everything is a function of the number, so that two machines make the same files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTURES = 12
FALL_OFF = 1.15
"""Amplitude falls as 1/f to this power; natural scenes lie near 1."""


@dataclass(frozen=True, kw_only=True)
class PhotoKind:
    """Size in pixels, and the grain (standard deviation, in levels) that gives the stated bytes at ``quality``."""

    width: int
    height: int
    grain: float
    quality: int


def photo(index: int, kind: PhotoKind) -> bytes:
    """JPEG number ``index`` (4:2:0, as cameras and ImageNet have it)."""
    random = np.random.default_rng([index, kind.width])
    first, second = random.choice(TEXTURES, 2, replace=False)
    share = random.uniform(0.25, 0.75)
    pixels = _moved(first, kind, random) * np.float32(share) + _moved(second, kind, random) * np.float32(1 - share)
    # One plane of grain for the three colours: sensors' grain is mostly brightness.
    grain = _grain(kind)
    shift = random.integers(0, grain.shape[0] - kind.height), random.integers(0, grain.shape[1] - kind.width)
    pixels += grain[shift[0] : shift[0] + kind.height, shift[1] : shift[1] + kind.width, None]
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    body = io.BytesIO()
    image.save(body, "JPEG", quality=kind.quality, subsampling=2)
    return body.getvalue()


def _moved(texture: int, kind: PhotoKind, random: np.random.Generator) -> NDArray[np.float32]:
    """The texture, rolled and perhaps mirrored."""
    pixels = _texture(texture, kind)
    if random.integers(2):
        pixels = pixels[:, ::-1]
    return np.roll(pixels, (int(random.integers(kind.height)), int(random.integers(kind.width))), (0, 1))


@lru_cache(maxsize=2 * TEXTURES)
def _texture(number: int, kind: PhotoKind) -> NDArray[np.float32]:
    """Coloured 1/f clouds with objects in front; float32 (height, width, 3) around 0 to 255."""
    random = np.random.default_rng([number, kind.height])
    down = np.fft.fftfreq(kind.height)[:, None] * kind.height
    across = np.fft.rfftfreq(kind.width)[None, :] * kind.width
    amplitude = 1 / np.maximum(np.hypot(down, across), 1) ** FALL_OFF
    planes = []
    for strength in (48.0, 14.0, 14.0):  # brightness varies more than colour
        phase = random.uniform(0, 2 * np.pi, amplitude.shape)
        plane = np.fft.irfft2(amplitude * np.exp(1j * phase), (kind.height, kind.width))
        planes.append(plane / plane.std() * strength)
    light, blue, red = planes
    clouds = np.stack([light + red, light - 0.3 * red - 0.3 * blue, light + blue], axis=-1) + 120
    canvas = Image.new("RGBA", (kind.width, kind.height))
    draw = ImageDraw.Draw(canvas)
    for _ in range(14):
        colour = (*map(int, random.integers(0, 256, 3)), 150)
        centre = random.uniform(0, 1, 2) * (kind.width, kind.height)
        corners = centre + random.normal(0, 0.12, (int(random.integers(3, 8)), 2)) * kind.width
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=colour)
    objects = np.asarray(canvas, np.float32)
    opacity = objects[..., 3:] / 255
    return (clouds * (1 - opacity) + objects[..., :3] * opacity).astype(np.float32)


@lru_cache(maxsize=2)
def _grain(kind: PhotoKind) -> NDArray[np.float32]:
    shape = (kind.height + 64, kind.width + 64)
    return np.random.default_rng(kind.width).normal(0, kind.grain, shape).astype(np.float32)
