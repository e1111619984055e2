"""`ImageDecoder`: image files to uint8 arrays of one size, with Pillow."""

from __future__ import annotations

import operator
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from aioloader.decode.image_fit import EXIF_TURNS, UPRIGHT, Box, Size, Turn, centre_crop, centre_pad
from aioloader.decode.image_format import OPENERS, open_image
from aioloader.decode.image_mode import CHANNELS, to_eight_bits, write_pixels
from aioloader.errors import DecodeError, OptionError, UnsafeImageError
from aioloader.redact import shown_key
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
"""All but ``nearest`` are antialiased when they shrink."""

_EXIF_ORIENTATION = 274


@dataclass(frozen=True)
class ImageDecoder:
    """JPEG, PNG, WebP, GIF (first frame), TIFF and BMP files to uint8 arrays ``(height, width, channels)``.

    ``size`` is ``(height, width)`` in pixels, Keras' order; None keeps each file's own. ``mode`` is ``"RGB"``
    (3 channels), ``"RGBA"`` (4) or ``"L"`` (gray, 1). ``interpolation`` is ``"bilinear"``, ``"bicubic"``,
    ``"lanczos"``, ``"area"`` (all antialiased) or ``"nearest"``. ``crop_to_aspect_ratio`` cuts out the
    largest centred part of the target's shape, ``pad_to_aspect_ratio`` adds black bars (transparent ones in
    RGBA) instead of stretching. ``exif`` turns photos upright by their EXIF orientation; a TIFF's own
    orientation always counts. ``formats`` is the list of what is decoded at all, ``max_pixels`` the most
    pixels a file's header may announce.

    Alpha is dropped in RGB and L, not composited. 16-bit gray is scaled to 8 bits, CMYK and palettes are
    converted; 32-bit and float pixels raise `DecodeError`, as do cut and broken files; a refused format or
    size raises `UnsafeImageError`. Needs no randomness and writes into ``out``.
    """

    size: Size | None = None
    _: KW_ONLY
    mode: str = "RGB"
    interpolation: str = "bilinear"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    backend: str = "pillow"
    formats: tuple[str, ...] = tuple(OPENERS)
    max_pixels: int = 64_000_000
    exif: bool = True

    needs_rng: ClassVar[bool] = False
    writes_out: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _checked_size(self.size))
        _check_choice("mode", self.mode, CHANNELS)
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        if self.backend != "pillow":
            later = "; 'fast' comes with the fast extra in the next release" if self.backend == "fast" else ""
            raise OptionError("backend", repr(self.backend), f"'pillow'{later}")
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise OptionError("pad_to_aspect_ratio", "True", "False together with crop_to_aspect_ratio=True")
        for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
            if getattr(self, option) and self.size is None:
                raise OptionError(option, "True", "size=(height, width) with it")
        formats: Any = self.formats  # a str is a sequence of str, but not what is meant
        if isinstance(formats, str) or not formats:
            raise OptionError("formats", repr(formats), f"a tuple of names among {', '.join(OPENERS)}")
        object.__setattr__(self, "formats", tuple(formats))
        for name in self.formats:
            _check_choice("formats", name, OPENERS)
        if type(self.max_pixels) is not int or self.max_pixels < 1:
            raise OptionError("max_pixels", repr(self.max_pixels), "a positive number of pixels")

    def __repr__(self) -> str:
        options = [f"size={self.size!r}"] + [
            f"{option.name}={getattr(self, option.name)!r}"
            for option in fields(self)[1:]
            if getattr(self, option.name) != option.default
        ]
        return f"ImageDecoder({', '.join(options)})"

    def spec(self) -> FieldSpec | None:
        """uint8 ``(height, width, channels)``, or None where every file keeps its own size."""
        if self.size is None:
            return None
        return FieldSpec((*self.size, CHANNELS[self.mode]), np.dtype(np.uint8))

    def decode(
        self,
        data: bytes,
        sample: SampleRef,
        rng: np.random.Generator | None = None,
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The picture in ``data``, written into ``out`` where it is given."""
        try:
            return self._decode(data, out)
        except DecodeError as exc:
            raise type(exc)(exc.reason, shown_key(sample.key), exc.hint) from exc.__cause__
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
            # Some plugins check frames and tiles by Pillow's own, process-wide limit.
            raise UnsafeImageError(
                f"Pillow refuses its size: {exc}",
                shown_key(sample.key),
                "Raise max_pixels= and PIL.Image.MAX_IMAGE_PIXELS if such images are meant.",
            ) from exc
        except Exception as exc:  # whatever a parser raises on broken input
            raise DecodeError(
                str(exc).rstrip(".") or type(exc).__name__,
                shown_key(sample.key),
                "Check the file, or pass on_error='skip' to go on without it.",
            ) from exc

    def _decode(self, data: bytes, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        image = open_image(data, self.formats, self.max_pixels)
        # Before getexif(): that one loads a PNG too, and Pillow tells of broken pixels only the first time.
        image.load()
        turn = _turn_of(image) if self.exif and image.format != "TIFF" else UPRIGHT
        stored: Size = (image.size[1], image.size[0])
        upright = turn.size(stored)
        target = self.size or upright
        source_box: Box = (0, 0, upright[1], upright[0])
        target_box: Box = (0, 0, target[1], target[0])
        if self.crop_to_aspect_ratio:
            source_box = centre_crop(upright, target)
        elif self.pad_to_aspect_ratio:
            target_box = centre_pad(upright, target)
        if out is None:
            out = np.empty((*target, CHANNELS[self.mode]), np.uint8)

        # Resized as it is stored, turned while it is copied: turning costs nothing that way.
        left, top, right, bottom = target_box
        inner = turn.size((bottom - top, right - left))
        resized = to_eight_bits(image, self.mode).resize(
            (inner[1], inner[0]), INTERPOLATIONS[self.interpolation], turn.stored_box(source_box, stored)
        )
        if target_box != (0, 0, target[1], target[0]):
            out[...] = 0
        write_pixels(resized, turn.stored_view(out[top:bottom, left:right]))
        return out


def _turn_of(image: Image.Image) -> Turn:
    """The turn that makes a loaded ``image`` upright; unreadable metadata says nothing, as in viewers."""
    try:
        orientation: Any = image.getexif().get(_EXIF_ORIENTATION, 1)
        return EXIF_TURNS.get(orientation, UPRIGHT)
    except Exception:
        return UPRIGHT


def _checked_size(size: Any) -> Size | None:
    if size is None:
        return None
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        hint = f"two numbers, size=({size}, {size})" if type(size) is int else "(height, width) or None"
        raise OptionError("size", repr(size), hint) from None
    if min(height, width) < 1:
        raise OptionError("size", repr(size), "a height and a width of at least 1 pixel")
    return height, width


def _check_choice(option: str, value: object, choices: dict[str, Any]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise OptionError(option, repr(value), "one of " + ", ".join(map(repr, choices)))
