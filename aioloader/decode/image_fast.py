"""JPEGs by simplejpeg, resized by OpenCV: the only file that imports the two.

Both let go of the GIL while they work. OpenCV has threads of its own, which wait by spinning: with one decode thread on
two cores they cost 1.6 times the CPU (docs/notes/image-decoding.md). Their number is the whole process', so it is set
to 1 here only where nobody has decided on it: cv2 was not imported before, and OPENCV_FOR_THREADS_NUM is not set.
``cv2.setNumThreads`` overrules it at any time. Pixels do not depend on it.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

_is_decided = "cv2" in sys.modules or "OPENCV_FOR_THREADS_NUM" in os.environ  # looked at before cv2 is imported

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import simplejpeg  # type: ignore[import-untyped]  # noqa: E402 - it has stubs, but no py.typed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.decode.image_fit import Size

    Pixels = NDArray[np.uint8]
    Edges = tuple[float, float, float, float]

if not _is_decided:
    cv2.setNumThreads(1)

_COLOUR_SPACES = {1: "GRAY", 3: "RGB", 4: "RGBA"}

# A thread keeps its buffers, each of one picture, up to this size (3840 x 2160 RGB is 25 MB). Without them glibc gave
# the pages back and the kernel zeroed new ones for each picture: 246 page faults and 1.1 ms instead of 0.7.
_KEPT_BYTES = 32 << 20
_kept = threading.local()

# Where it shrinks by so much or more, it is halved first: 26 passes of blurring would be needed for a factor of 9.
_HALVED_FROM = 4.0


def read_size(data: bytes) -> Size | None:
    """The ``(height, width)`` in a JPEG's header; None for CMYK and for headers that Pillow must judge."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # KeyError: a subsampling or colour space it has no name for
        return None
    return None if colours in ("CMYK", "YCCK") else (int(height), int(width))


def decode_into(data: bytes, size: Size, source: Edges, view: Pixels, *, divisor: int, antialias: bool) -> bool:
    """Write ``source`` of the JPEG in ``data``, of ``size``, into ``view`` (H, W, 1, 3 or 4), resized bilinearly.

    ``divisor`` (8, 4, 2, 1) is how much smaller it is decoded. False where the file is not as it should be: nothing
    in ``view`` counts then, and Pillow decides whether it can be read.
    """
    height, width, channels = -(-size[0] // divisor), -(-size[1] // divisor), view.shape[2]
    edges: Edges = source
    if divisor != 1:
        edges = (source[0] / divisor, source[1] / divisor, source[2] / divisor, source[3] / divisor)
    is_direct = (
        view.shape[:2] == (height, width)
        and edges == (0.0, 0.0, float(width), float(height))
        and view.flags.c_contiguous
    )
    buffer = view if is_direct else _buffer("decoded", height, width, channels)
    try:
        # min_ chooses the smallest scale that is not below it. Strict: files that are cut or damaged raise.
        decoded: Pixels = simplejpeg.decode_jpeg(
            data, _COLOUR_SPACES[channels], min_height=height, min_width=width, buffer=buffer, strict=True
        )
    except ValueError:
        return False
    if is_direct:
        return True
    if antialias:
        _shrink(decoded, edges, view, divisor)
    else:
        _resize(decoded, edges, view, cv2.INTER_LINEAR)
    return True


def _shrink(decoded: Pixels, edges: Edges, view: Pixels, mean: int) -> None:
    """Antialiased linear interpolation, made of what OpenCV has fast code for. Overwrites ``decoded``.

    Such a resize by s weighs pixels by a triangle of variance s²/6. Interpolation alone has 1/6, pixels that are means
    of n (``mean``, by DCT or by halving) have (1 - 1/n²)/12 of their own; what is missing is brought by blurring with
    [1 2 1]/4, 1/2 a pass, or, where it is less, by the mean of four results, s²/16.
    """
    left, top, right, bottom = edges
    across, down = (right - left) / view.shape[1], (bottom - top) / view.shape[0]
    x_mean, y_mean = mean, mean
    while max(across, down) >= _HALVED_FROM:
        x_step, y_step = 1 + (across >= _HALVED_FROM), 1 + (down >= _HALVED_FROM)
        # Of an odd side the last pixel goes, so that halves are exact: less than an eighth of a pixel of the result.
        even = decoded[: decoded.shape[0] // y_step * y_step, : decoded.shape[1] // x_step * x_step]
        size = (even.shape[1] // x_step, even.shape[0] // y_step)
        decoded = _uint8(cv2.resize(even, size, interpolation=cv2.INTER_AREA))
        across, left, right, x_mean = across / x_step, left / x_step, right / x_step, x_mean * x_step
        down, top, bottom, y_mean = down / y_step, top / y_step, bottom / y_step, y_mean * y_step
    edges = (left, top, right, bottom)
    x_missing, y_missing = _missing(across, x_mean), _missing(down, y_mean)
    x_passes, y_passes = round(2 * x_missing), round(2 * y_missing)
    # Forth and back between two buffers: in place, OpenCV copies the picture to fresh memory first.
    pixels, other = decoded, _buffer("blurred", *decoded.shape) if x_passes or y_passes else decoded
    for number in range(max(x_passes, y_passes)):
        kernel = (3 if number < x_passes else 1, 3 if number < y_passes else 1)
        cv2.GaussianBlur(pixels, kernel, 0, dst=other)
        pixels, other = other, pixels
    if (x_passes or x_missing < across**2 / 32) and (y_passes or y_missing < down**2 / 32):
        _resize(pixels, edges, view, cv2.INTER_LINEAR)
        return
    doubled = _buffer("doubled", 2 * view.shape[0], 2 * view.shape[1], view.shape[2])
    _resize(pixels, edges, doubled, cv2.INTER_LINEAR)
    _resize(doubled, (0, 0, doubled.shape[1], doubled.shape[0]), view, cv2.INTER_AREA)


def _missing(shrink: float, mean: int) -> float:
    """The variance, in pixels², that pixels which are means of ``mean`` lack before they are shrunk by ``shrink``."""
    return max(0.0, (shrink * shrink - 1) / 6 - (1 - 1 / mean**2) / 12)


def _resize(pixels: Pixels, edges: Edges, view: Pixels, method: int) -> None:
    """``edges`` of ``pixels`` into ``view``, without a copy unless ``view`` is turned or mirrored."""
    # OpenCV takes rows that lie apart, but not pixels.
    is_upright = view.strides[0] > 0 and view.strides[1:] == (view.shape[2], 1)
    target = view if is_upright else np.empty(view.shape, np.uint8)
    left, top, right, bottom = edges
    size = (target.shape[1], target.shape[0])
    if edges == (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0])):
        cv2.resize(pixels, size, dst=target, interpolation=method)
    elif all(edge == int(edge) for edge in edges) and right <= pixels.shape[1] and bottom <= pixels.shape[0]:
        cv2.resize(pixels[int(top) : int(bottom), int(left) : int(right)], size, dst=target, interpolation=method)
    else:  # parts of pixels: a third of the speed, and only after pixels became means
        across, down = (right - left) / size[0], (bottom - top) / size[1]
        matrix = np.array([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5]])
        flags = method | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(pixels, matrix, size, dst=target, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if target is not view:
        view[...] = target


def _buffer(use: str, *shape: int) -> Pixels:
    """This thread's memory for one picture, until it asks again for the same ``use``."""
    byte_count = math.prod(shape)
    buffer: Pixels | None = getattr(_kept, use, None)
    if buffer is None or buffer.size < byte_count:
        buffer = np.empty(byte_count, np.uint8)
        if byte_count <= _KEPT_BYTES:
            setattr(_kept, use, buffer)
    return buffer[:byte_count].reshape(shape)


def _uint8(pixels: Any) -> Pixels:
    """OpenCV's stubs do not say that a resized array keeps its dtype."""
    return pixels  # type: ignore[no-any-return]
