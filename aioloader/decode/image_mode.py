"""Pillow's many pixel modes to three: 8-bit gray, RGB and RGBA, never clipped and never guessed.

16-bit gray is scaled to 8 bits (Pillow's own ``convert`` saturates it: mean 254.5 instead of 116.7 was
measured). Its high byte is taken, as libpng and Pillow do for 16-bit RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from aioloader.errors import DecodeError

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""Output modes and their channels."""

_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262
_TIFF_WHITE_IS_ZERO = 0


def to_eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """``image`` in the cheapest of ``L``, ``RGB``, ``RGBA`` that holds all that ``mode`` shows of it.

    Alpha is dropped, not composited, where ``mode`` has none; gray stays ``L`` (`write_pixels` repeats it).
    Raises `DecodeError` for 32-bit integer and float pixels, whose range a file does not say, and for LAB.
    """
    source = image.mode
    wants_alpha = mode == "RGBA"
    if source.startswith("I;16"):
        return _sixteen_to_eight(image)
    transparent = "transparency" in image.info
    if wants_alpha and (transparent or source in ("LA", "La", "PA", "RGBA", "RGBa")):
        return image if source == "RGBA" else image.convert("RGBA")
    if source in ("L", "RGB"):
        return image.convert("L") if source == "RGB" and mode == "L" else image
    if transparent:
        del image.info["transparency"]  # convert() would warn that RGB cannot hold it
    if source in ("1", "LA", "La"):
        return image.convert("L")
    if source in ("P", "PA", "RGBA", "RGBa", "RGBX"):
        return image.convert("L" if mode == "L" else "RGB")
    if source in ("CMYK", "YCbCr"):
        rgb = image.convert("RGB")
        return rgb.convert("L") if mode == "L" else rgb
    kind = {"I": "32-bit integer", "F": "floating point", "LAB": "CIE L*a*b*"}.get(source, repr(source))
    raise DecodeError(
        f"its pixels are {kind}, and the file does not say which values are black and white",
        hint="Pass a function as decode= that knows their range.",
    )


def write_pixels(image: Image.Image, out: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Copy ``image`` (L, RGB or RGBA) into ``out`` (H, W, C): gray is repeated, a missing alpha 255."""
    pixels = np.asarray(image)
    colours = min(out.shape[2], 3)
    if pixels.ndim == 2:
        out[..., :colours] = pixels[..., np.newaxis]
        has_alpha = False
    else:
        has_alpha = pixels.shape[2] == out.shape[2]
        out[..., : pixels.shape[2]] = pixels
    if out.shape[2] == 4 and not has_alpha:
        out[..., 3] = 255


def _sixteen_to_eight(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    gray = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO:
        gray = 255 - gray  # Pillow inverts the 8-bit ones itself and leaves these
    return Image.fromarray(gray)
