"""`ImageDecoder`: image files to uint8 arrays of one size, with Pillow or with what is faster for JPEGs."""

from __future__ import annotations

import operator
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from aioloader.decode.image_exif import orientation
from aioloader.decode.image_fit import EXIF_TURNS, UPRIGHT, Placement, Size, Turn, place
from aioloader.decode.image_format import OPENERS, check_pixels, open_image
from aioloader.decode.image_mode import CHANNELS, to_eight_bits, write_pixels
from aioloader.errors import DecodeError, OptionError, UnsafeImageError
from aioloader.redact import shown_key
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
"""All but ``nearest`` are antialiased when they shrink."""

BACKENDS = {"pillow": "Pillow decodes and resizes", "fast": "simplejpeg decodes JPEGs, OpenCV resizes them"}

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

    ``backend="fast"`` (``pip install "aioloader[fast]"``) decodes JPEGs with simplejpeg and resizes them with OpenCV
    where the interpolation is ``"bilinear"``: half the time of Pillow, and nearly its pixels. All else stays Pillow's:
    other interpolations, other formats, CMYK, files of which simplejpeg warns. It is never chosen by itself: pixels do
    not depend on what is installed. ``dct_scale`` decodes JPEGs that are at least twice as large as ``size`` in both
    directions at 1/2, 1/4 or 1/8, never below ``size`` and not for ``"nearest"``; None is the backend's own: True for
    ``"fast"``, False for ``"pillow"``. ``antialias=False``, for ``"fast"`` and ``"bilinear"``, takes the four nearest
    pixels alone, as OpenCV and TensorFlow do by default: 13 % less time, jagged and noisy where it shrinks.

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
    dct_scale: bool | None = None
    antialias: bool = True

    needs_rng: ClassVar[bool] = False
    writes_out: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _checked_size(self.size))
        _check_choice("mode", self.mode, CHANNELS)
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        _check_choice("backend", self.backend, BACKENDS)
        if self.backend == "fast":
            _fast()
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise OptionError("pad_to_aspect_ratio", "True", "False together with crop_to_aspect_ratio=True")
        for option in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
            if getattr(self, option) and self.size is None:
                raise OptionError(option, "True", "size=(height, width) with it")
        if not self.antialias and (self.backend, self.interpolation) != ("fast", "bilinear"):
            raise OptionError("antialias", "False", "True unless backend='fast' and interpolation='bilinear'")
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
        except OptionError:
            raise  # unpickled where the fast extra is missing
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
        # OpenCV's area is slower than Pillow's, its cubic and Lanczos are not antialiased, its nearest is another one.
        if self.backend == "fast" and self.interpolation == "bilinear" and data[:3] == b"\xff\xd8\xff":
            pixels = self._decode_fast(data, out) if "JPEG" in self.formats else None
            if pixels is not None:
                return pixels
        image = open_image(data, self.formats, self.max_pixels)
        if image.format != "JPEG":
            # Before getexif(): that one loads a PNG too, and Pillow tells of broken pixels only the first time.
            image.load()
        turn = _turn_of(image) if self.exif and image.format != "TIFF" else UPRIGHT
        width, height = image.size
        placement = self._place((height, width), turn)
        divisor = 1
        if image.format == "JPEG":
            divisor = self._divisor(placement)
            if divisor > 1:
                image.draft(None, (width // divisor, height // divisor))
            image.load()
        if out is None:
            out = np.empty((*placement.target, CHANNELS[self.mode]), np.uint8)

        # Resized as it is stored, turned while it is copied: turning costs nothing that way.
        left, top, right, bottom = placement.source
        resized = to_eight_bits(image, self.mode).resize(
            (placement.inner[1], placement.inner[0]),
            INTERPOLATIONS[self.interpolation],
            (left / divisor, top / divisor, right / divisor, bottom / divisor),
        )
        write_pixels(resized, placement.stored_view(out))
        return out

    def _decode_fast(self, data: bytes, out: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """The JPEG in ``data``, or None where Pillow has to read it, or to say what is wrong with it."""
        fast = _fast()
        stored = fast.read_size(data)
        if stored is None:
            return None
        check_pixels(stored[0], stored[1], self.max_pixels)
        turn = UPRIGHT
        if self.exif:
            found = orientation(data)
            # The formats are checked, and the pixels: this opens the header and decodes nothing.
            turn = EXIF_TURNS.get(found, UPRIGHT) if found else _turn_of(open_image(data, ("JPEG",), self.max_pixels))
        placement = self._place(stored, turn)
        if out is None:
            out = np.empty((*placement.target, CHANNELS[self.mode]), np.uint8)
        is_written = fast.decode_into(
            data,
            stored,
            placement.source,
            placement.stored_view(out),
            divisor=self._divisor(placement),
            antialias=self.antialias,
        )
        return out if is_written else None

    def _place(self, stored: Size, turn: Turn) -> Placement:
        return place(stored, turn, self.size, crop=self.crop_to_aspect_ratio, pad=self.pad_to_aspect_ratio)

    def _divisor(self, placement: Placement) -> int:
        """How much smaller a JPEG is decoded."""
        wanted = self.backend == "fast" if self.dct_scale is None else self.dct_scale
        return placement.dct_divisor() if wanted and self.interpolation != "nearest" else 1


def _fast() -> ModuleType:
    """`aioloader.decode.image_fast`; `OptionError` where simplejpeg or OpenCV cannot be imported."""
    try:
        from aioloader.decode import image_fast
    except ImportError as exc:
        needs = 'simplejpeg and OpenCV beside it: pip install "aioloader[fast]"'
        raise OptionError("backend", "'fast'", f"{needs} ({exc})") from exc
    return image_fast


def _turn_of(image: Image.Image) -> Turn:
    """The turn that makes an ``image`` upright; unreadable metadata says nothing, as in viewers."""
    try:
        found: Any = image.getexif().get(_EXIF_ORIENTATION, 1)
        return EXIF_TURNS.get(found, UPRIGHT)
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
