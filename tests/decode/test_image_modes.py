"""Every pixel mode a file may have, against a reference computed in floating point."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aioloader.decode.image import ImageDecoder
from aioloader.decode.image_mode import to_eight_bits
from aioloader.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.types import SampleRef

HEIGHT, WIDTH = 12, 16
Pixels = NDArray[np.float64]

ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
RAMP8 = (ROWS * 21 + COLUMNS).astype(np.uint8)
RAMP16 = (RAMP8.astype(np.uint16) << 8) + np.uint16(99)
COLOURS = np.stack([RAMP8, 255 - RAMP8, COLUMNS * 15], axis=-1).astype(np.uint8)
ALPHA = (COLUMNS * 17).astype(np.uint8)


def save(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(colour_type: int, bit_depth: int, rows: list[bytes]) -> bytes:
    """A PNG that Pillow cannot write, chunk by chunk."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bit_depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def twelve_bit_tiff(values: NDArray[np.uint16]) -> bytes:
    """Uncompressed gray of 12 bits, two pixels in three bytes, which Pillow reads but does not write."""
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = np.empty((len(pairs), 3), np.uint8)
    packed[:, 0] = pairs[:, 0] >> 4
    packed[:, 1] = ((pairs[:, 0] & 15) << 4) | (pairs[:, 1] >> 8)
    packed[:, 2] = pairs[:, 1] & 255
    strip = packed.tobytes()
    tags = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, 12), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, HEIGHT), (279, 4, len(strip))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    return head + strip + struct.pack("<H", len(tags)) + directory + struct.pack("<I", 0)


def gray(values: NDArray[Any]) -> Pixels:
    return np.stack([values] * 3 + [np.full(values.shape, 255)], axis=-1).astype(float)


def opaque(colours: NDArray[Any]) -> Pixels:
    return np.concatenate([colours, np.full((HEIGHT, WIDTH, 1), 255)], axis=-1).astype(float)


def with_alpha(pixels: Pixels, alpha: NDArray[Any]) -> Pixels:
    return np.concatenate([pixels[..., :3], alpha[..., np.newaxis].astype(float)], axis=-1)


def palette_image(transparent: bool) -> Image.Image:
    image = Image.frombytes("P", (WIDTH, HEIGHT), (COLUMNS * 16 + ROWS).astype(np.uint8).tobytes())
    image.putpalette(bytes(value for index in range(256) for value in (index, 255 - index, index // 2)))
    if transparent:
        image.info["transparency"] = bytes(range(255, -1, -1))
    return image


def palette_reference(transparent: bool) -> Pixels:
    index = COLUMNS * 16 + ROWS
    colours = np.stack([index, 255 - index, index // 2], axis=-1)
    return with_alpha(opaque(colours), 255 - index) if transparent else opaque(colours)


def inks() -> tuple[Image.Image, Pixels]:
    planes = np.stack([RAMP8, 255 - RAMP8, COLUMNS * 15, ROWS * 10], axis=-1).astype(np.uint8)
    paper = 255.0 - planes[..., 3:]
    return Image.fromarray(planes, "CMYK"), opaque((255.0 - planes[..., :3]) * paper / 255)


def big_endian(values: NDArray[Any]) -> list[bytes]:
    return [row.astype(">u2").tobytes() for row in values]


def wide(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.uint16) * 257


def one_bit() -> tuple[bytes, Pixels]:
    dark = (ROWS + COLUMNS) % 3 == 0
    return save(Image.fromarray(~dark), "PNG"), gray(np.where(dark, 0, 255))


def cmyk(image_format: str, **options: Any) -> tuple[bytes, Pixels]:
    image, reference = inks()
    return save(image, image_format, **options), reference


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[], tuple[bytes, Pixels]]
    tolerance: float = 1.0
    """In steps of 8 bits. One: every conversion rounds once."""


CASES = [
    Case("1 png", one_bit, 0),
    Case("L png", lambda: (save(Image.fromarray(RAMP8), "PNG"), gray(RAMP8)), 0),
    Case("L jpeg", lambda: (save(Image.fromarray(RAMP8), "JPEG", quality=100), gray(RAMP8)), 2),
    Case(
        "L png with a transparent level",
        lambda: (
            save(Image.fromarray(RAMP8), "PNG", transparency=int(RAMP8[3, 3])),
            with_alpha(gray(RAMP8), np.where(RAMP8 - RAMP8[3, 3], 255, 0)),
        ),
        0,
    ),
    Case(
        "LA png",
        lambda: (
            save(Image.fromarray(np.stack([RAMP8, ALPHA], -1), "LA"), "PNG"),
            with_alpha(gray(RAMP8), ALPHA),
        ),
        0,
    ),
    Case(
        "LA png of 16 bits",
        lambda: (
            png(4, 16, big_endian(np.stack([RAMP16, wide(ALPHA)], -1))),
            with_alpha(gray(RAMP16 / 257), ALPHA),
        ),
    ),
    Case("P png", lambda: (save(palette_image(False), "PNG"), palette_reference(False)), 0),
    Case("P png, transparent", lambda: (save(palette_image(True), "PNG"), palette_reference(True)), 0),
    Case("P gif", lambda: (save(palette_image(False), "GIF"), palette_reference(False)), 0),
    Case("P bmp", lambda: (save(palette_image(False), "BMP"), palette_reference(False)), 0),
    Case("RGB png", lambda: (save(Image.fromarray(COLOURS), "PNG"), opaque(COLOURS)), 0),
    Case("RGB png of 16 bits", lambda: (png(2, 16, big_endian(wide(COLOURS))), opaque(COLOURS)), 0),
    Case(
        "RGB jpeg",
        lambda: (save(Image.fromarray(COLOURS), "JPEG", quality=100, subsampling=0), opaque(COLOURS)),
        4,
    ),
    Case(
        "RGBA png",
        lambda: (
            save(Image.fromarray(np.dstack([COLOURS, ALPHA])), "PNG"),
            with_alpha(opaque(COLOURS), ALPHA),
        ),
        0,
    ),
    Case(
        "RGBA webp",
        lambda: (
            save(Image.fromarray(np.dstack([COLOURS, ALPHA])), "WEBP", lossless=True, exact=True),
            with_alpha(opaque(COLOURS), ALPHA),
        ),
        0,
    ),
    Case("CMYK tiff", lambda: cmyk("TIFF")),
    Case("CMYK jpeg, Adobe's inverted inks", lambda: cmyk("JPEG", quality=100, subsampling=0), 6),
    Case(
        "YCbCr tiff",
        lambda: (save(Image.fromarray(COLOURS).convert("YCbCr"), "TIFF", compression="tiff_lzw"), opaque(COLOURS)),
        3,
    ),
    Case("I;16 png", lambda: (save(Image.fromarray(RAMP16), "PNG"), gray(RAMP16 / 257)), 1),
    Case("I;16 tiff", lambda: (save(Image.fromarray(RAMP16), "TIFF"), gray(RAMP16 / 257)), 1),
    Case(
        "I;16B tiff",
        lambda: (
            save(Image.frombytes("I;16B", (WIDTH, HEIGHT), RAMP16.astype(">u2").tobytes()), "TIFF"),
            gray(RAMP16 / 257),
        ),
    ),
    Case(
        "I;16 tiff, white is zero",
        lambda: (save(Image.fromarray(RAMP16), "TIFF", tiffinfo={262: 0}), gray(255 - RAMP16 / 257)),
    ),
    Case("I;12 tiff", lambda: (twelve_bit_tiff(RAMP16 >> 4), gray((RAMP16 >> 4) / 4095 * 255))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_pixels_are_those_of_a_float_reference(case: Case, mode: str, sample: SampleRef) -> None:
    blob, reference = case.make()
    expected = reference[..., : len(mode)]
    if mode == "L":
        expected = reference[..., :3] @ np.array([[0.299], [0.587], [0.114]])
    got = ImageDecoder(mode=mode).decode(blob, sample)
    assert got.dtype == np.uint8
    assert got.shape == expected.shape
    rounding = 1 if mode == "L" else 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=case.tolerance + rounding)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_every_mode_can_be_resized(case: Case, mode: str, sample: SampleRef) -> None:
    blob, reference = case.make()
    # Colour is weighted by alpha when RGBA is resized: only the opaque ones have a plain mean.
    if mode == "RGBA" and reference[..., 3].min() < 255:
        reference = reference[..., 3:].repeat(4, axis=-1)
        got = ImageDecoder((1, 1), mode=mode, interpolation="area").decode(blob, sample)[..., 3:]
        expected = reference[..., :1].mean(axis=(0, 1))
    else:
        got = ImageDecoder((1, 1), mode=mode, interpolation="area").decode(blob, sample)
        expected = reference[..., : len(mode)].mean(axis=(0, 1))
        if mode == "L":
            expected = reference[..., :3].mean(axis=(0, 1)) @ np.array([[0.299], [0.587], [0.114]])
    np.testing.assert_allclose(got[0, 0], expected, rtol=0, atol=case.tolerance + 2)


@pytest.mark.parametrize(("mode", "converted"), [("RGB", "RGB"), ("RGBA", "RGB"), ("L", "L")])
def test_ycbcr_is_converted(mode: str, converted: str) -> None:
    # Not through a file: Pillow 11 cannot read the uncompressed TIFFs of this mode that it writes.
    image = Image.fromarray(COLOURS)
    got = to_eight_bits(image.convert("YCbCr"), mode)
    assert got.mode == converted
    expected = np.asarray(image.convert(converted), float)
    np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=3)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.fromarray(RAMP8.astype(np.int32)), "32-bit integer"),
        (Image.fromarray(RAMP8.astype(np.float32)), "floating point"),
        (Image.frombytes("LAB", (WIDTH, HEIGHT), COLOURS.tobytes()), "CIE L"),
    ],
    ids=["I", "F", "LAB"],
)
def test_pixels_of_unknown_range_are_refused(image: Image.Image, kind: str, sample: SampleRef) -> None:
    with pytest.raises(DecodeError, match=kind) as caught:
        ImageDecoder().decode(save(image, "TIFF"), sample)
    assert caught.value.key == sample.key
    assert "decode=" in caught.value.hint
