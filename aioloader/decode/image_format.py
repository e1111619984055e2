"""Which image format the bytes are in, and a Pillow image of them that is not decoded yet.

Pillow's plugin classes are called directly, not through ``Image.open``: that one warns by a process-wide
limit (``Image.MAX_IMAGE_PIXELS``), and neither the limit nor warnings can be set aside for one thread.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from aioloader.errors import DecodeError, UnsafeImageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from PIL.ImageFile import ImageFile

OPENERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
"""The formats that are decoded, by Pillow's names."""

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # BigTIFF
    (b"MM\x00+", "TIFF"),
)

# What else comes where an image was expected, by its first bytes in lower case.
_OTHERS = (
    (b"<!doctype html", "an HTML page: a login or error page of the server?"),
    (b"<html", "an HTML page: a login or error page of the server?"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document: an error message of the store?"),
    (b"<error", "an XML document: an error message of the store?"),
    (b"{", "JSON: an error message of the server?"),
    (b"version https://git-lfs", "a Git LFS pointer: `git lfs pull` brings the file"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"pk\x03\x04", "a zip archive"),
    (b"8bps", "a Photoshop file"),
    (b"%!ps", "a PostScript file"),
    (b"%pdf", "a PDF file"),
    (b"\x93numpy", "a .npy array: NpyDecoder reads it"),
    (b"\x00\x00\x00\x0cjp", "a JPEG 2000 or JPEG XL image"),
)


def open_image(data: bytes, formats: Collection[str], max_pixels: int) -> ImageFile:
    """The image in ``data`` with its header read and no pixel decoded.

    Raises `DecodeError` for bytes that are no image, `UnsafeImageError` for a format outside ``formats`` or
    more than ``max_pixels`` pixels; whatever Pillow raises on a broken header passes through.
    """
    name = _sniff(data)
    if name not in formats:
        raise UnsafeImageError(
            f"it is a {name} image, and formats= allows {', '.join(formats)}",
            hint=f"Add {name!r} to formats= if that is meant.",
        )
    image = OPENERS[name](io.BytesIO(data))
    check_pixels(image.size[1], image.size[0], max_pixels)
    return image


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """`UnsafeImageError` for a header that announces more than ``max_pixels`` pixels."""
    if width * height > max_pixels:
        raise UnsafeImageError(
            f"its header says {width} x {height} pixels, more than max_pixels={max_pixels}",
            hint="Raise max_pixels= if such images are meant.",
        )


def _sniff(data: bytes) -> str:
    if not len(data):
        raise DecodeError("the file is empty (0 bytes)", hint="Was its upload finished?")
    head = bytes(data[:64])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[4:8] == b"ftyp":  # the ISO box of AVIF, HEIC and MP4
        looks = f"a file of the {head[8:12]!r} family (AVIF, HEIC, MP4)"
    else:
        text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower() or head
        looks = next((what for start, what in _OTHERS if text.startswith(start)), "")
    if not looks:
        looks = f"{len(data)} bytes that begin with {head[:12]!r}"
    raise DecodeError(
        f"it is not an image in a known format ({', '.join(OPENERS)}) but {looks}",
        hint="Check the file, leave it out of the dataset, or pass a function as decode=.",
    )
