"""The decoders every competitor may use, so that a race is never one of decoders.

Each takes the body and ``(height, width)`` and gives uint8 ``(height, width, 3)``. "pillow" and "fast" read all pixels;
the "-dct" ones let the JPEG library drop what the target does not need.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Decode = Callable[[bytes, tuple[int, int]], NDArray[np.uint8]]


LARGEST_BYTES = 3000 * 2000 * 3


def pillow(body: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pillow: open, convert, antialiased bilinear resize."""
    from PIL import Image

    image = Image.open(io.BytesIO(body)).convert("RGB")
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def pillow_dct(body: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pillow with ``draft``: decoded at the smallest eighth that is at least ``size``."""
    from PIL import Image

    image = Image.open(io.BytesIO(body))
    image.draft("RGB", size[::-1])
    return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def fast(body: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """simplejpeg (TurboJPEG) and OpenCV's bilinear resize; neither holds the GIL."""
    import cv2
    import simplejpeg

    return cv2.resize(simplejpeg.decode_jpeg(body, "RGB", buffer=_buffer()), size[::-1], interpolation=cv2.INTER_LINEAR)


def fast_dct(body: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """`fast`, decoded at the smallest eighth that is at least ``size``."""
    import cv2
    import simplejpeg

    pixels = simplejpeg.decode_jpeg(body, "RGB", min_height=size[0], min_width=size[1], buffer=_buffer())
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)


_kept = threading.local()


def _buffer() -> NDArray[np.uint8]:
    """This thread's memory for one decoded picture: fresh pages for each would cost a third of the time."""
    if not hasattr(_kept, "buffer"):
        _kept.buffer = np.empty(LARGEST_BYTES, np.uint8)
    return _kept.buffer


def none(body: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The bytes as they are, without a copy; ``size`` means nothing here."""
    return np.frombuffer(body, np.uint8)


DECODERS: dict[str, Decode] = {
    "pillow": pillow,
    "pillow-dct": pillow_dct,
    "fast": fast,
    "fast-dct": fast_dct,
    "none": none,
}


def decoder(name: str) -> Decode:
    """The decoder called ``name``, imported, with OpenCV's own threads off: the loaders bring theirs."""
    if name.startswith("fast"):
        import cv2
        import simplejpeg  # noqa: F401  # imported here, so that no run pays for it in its first batch

        cv2.setNumThreads(0)
    elif name.startswith("pillow"):
        from PIL import Image

        Image.init()
    return DECODERS[name]
