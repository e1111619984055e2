"""Where an image's pixels go in a picture of another size: pure arithmetic on boxes.

Sizes are ``(height, width)``, boxes ``(left, top, right, bottom)`` in pixels, as Keras and Pillow have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """How stored pixels become the upright picture: flip rows, flip columns, then swap the two axes."""

    flip_rows: bool = False
    flip_columns: bool = False
    swap_axes: bool = False

    def size(self, stored: Size) -> Size:
        """The size after turning an image of size ``stored``, and the other way round."""
        return (stored[1], stored[0]) if self.swap_axes else stored

    def stored_view(self, upright: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The view of ``upright`` (H, W, C) into which stored pixels are written as they lie."""
        if self is UPRIGHT:  # nearly every picture
            return upright
        stored = upright.swapaxes(0, 1) if self.swap_axes else upright
        return stored[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def stored_box(self, upright: Box, stored: Size) -> Box:
        """Where the box ``upright`` of the turned picture lies in the stored image of size ``stored``."""
        left, top, right, bottom = upright
        if self.swap_axes:
            left, top, right, bottom = top, left, bottom, right
        if self.flip_rows:
            top, bottom = stored[0] - bottom, stored[0] - top
        if self.flip_columns:
            left, right = stored[1] - right, stored[1] - left
        return left, top, right, bottom


UPRIGHT = Turn()

EXIF_TURNS = {
    1: UPRIGHT,
    2: Turn(flip_columns=True),
    3: Turn(flip_rows=True, flip_columns=True),
    4: Turn(flip_rows=True),
    5: Turn(swap_axes=True),
    6: Turn(flip_rows=True, swap_axes=True),
    7: Turn(flip_rows=True, flip_columns=True, swap_axes=True),
    8: Turn(flip_columns=True, swap_axes=True),
}
"""The eight values of EXIF's Orientation tag (274)."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What of a stored image goes where: ``source`` of it, resized to ``inner``, turned, into ``box`` of ``target``.

    ``source`` and ``inner`` are in the stored image's orientation, ``box`` and ``target`` are upright.
    """

    turn: Turn
    source: Box
    inner: Size
    box: Box
    target: Size

    def stored_view(self, out: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The view of ``out`` that takes ``inner`` as it is stored; what lies around it is made black."""
        left, top, right, bottom = self.box
        if (bottom - top, right - left) != self.target:
            out[...] = 0
            out = out[top:bottom, left:right]
        return self.turn.stored_view(out)

    def dct_divisor(self) -> int:
        """8, 4, 2 or 1: how much smaller a JPEG may be decoded so that nothing is enlarged which was not.

        Powers of two alone: libjpeg-turbo has fast code for these, and Pillow has no others.
        """
        left, top, right, bottom = self.source
        height, width = self.inner
        for divisor in (8, 4, 2):
            if bottom - top >= divisor * height and right - left >= divisor * width:
                return divisor
        return 1


@lru_cache(maxsize=1024)  # pictures of a dataset often share their size: 1 µs instead of 6
def place(stored: Size, turn: Turn, size: Size | None, *, crop: bool, pad: bool) -> Placement:
    """How an image of size ``stored`` becomes one of ``size`` (None: its own) after ``turn``."""
    upright = turn.size(stored)
    target = size or upright
    source: Box = (0, 0, upright[1], upright[0])
    box: Box = (0, 0, target[1], target[0])
    if crop:
        source = centre_crop(upright, target)
    elif pad:
        box = centre_pad(upright, target)
    inner = turn.size((box[3] - box[1], box[2] - box[0]))
    return Placement(turn, turn.stored_box(source, stored), inner, box, target)


def centre_crop(source: Size, target: Size) -> Box:
    """The largest centred box of ``source`` with the aspect ratio of ``target``, Keras' to the pixel."""
    height, width = source
    crop_height = max(min(height, width * target[0] // target[1]), 1)
    crop_width = max(min(width, height * target[1] // target[0]), 1)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return left, top, left + crop_width, top + crop_height


def centre_pad(source: Size, target: Size) -> Box:
    """The largest centred box of ``target`` with the aspect ratio of ``source``; the rest is padding."""
    height, width = source
    inner_height = max(min(target[0], round(target[1] * height / width)), 1)
    inner_width = max(min(target[1], round(target[0] * width / height)), 1)
    top, left = (target[0] - inner_height) // 2, (target[1] - inner_width) // 2
    return left, top, left + inner_width, top + inner_height
