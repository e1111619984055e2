"""Files that are broken, cut, hostile or no images at all."""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aioloader.decode.image import ImageDecoder
from aioloader.errors import DecodeError, UnsafeImageError

if TYPE_CHECKING:
    from aioloader.types import SampleRef

Encode = Callable[..., bytes]
Photo = NDArray[np.uint8]
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]


def noise(height: int = 18, width: int = 22) -> Photo:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and ends."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + (struct.pack(">I", 4) + b"IDATxxxx" + bytes(4))
    )


def gif_with_frame(width: int, height: int) -> bytes:
    """A GIF whose screen is one pixel and whose first frame is not."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame + b"\x02\x02\x4c\x01\x00;"


@dataclass(frozen=True)
class NoImage:
    id: str
    blob: bytes
    says: str


@pytest.mark.parametrize(
    "case",
    [
        NoImage("empty", b"", r"empty \(0 bytes\)"),
        NoImage("html", b"\xef\xbb\xbf\n <!DOCTYPE html><title>Sign in</title>", "an HTML page"),
        NoImage("xml", b"<?xml version='1.0'?><Error><Code>NoSuchKey", "an XML document"),
        NoImage("json", b'{"error": "expired"}', "JSON"),
        NoImage("lfs", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        NoImage("gzip", b"\x1f\x8b\x08\x00" + bytes(20), "gzip"),
        NoImage("avif", b"\x00\x00\x00\x20ftypavif" + bytes(20), "AVIF"),
        NoImage("npy", b"\x93NUMPY\x01\x00", "NpyDecoder"),
        NoImage("zeros", bytes(1000), r"1000 bytes that begin with b'\\x00\\x00"),
        NoImage("blanks", b" " * 80, "80 bytes that begin with b'   "),
        NoImage("one byte", b"\xff", r"1 bytes that begin with b'\\xff'"),
        NoImage("terminal codes", b"\x1b[31mred\x1b[0m", r"b'\\x1b\[31m"),
    ],
    ids=lambda case: case.id,
)
def test_what_is_no_image_is_named(case: NoImage, sample: SampleRef) -> None:
    with pytest.raises(DecodeError, match=case.says) as caught:
        ImageDecoder(size=(8, 8)).decode(case.blob, sample)
    assert caught.value.key == sample.key
    assert caught.value.hint
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_cut_file_decodes_exactly_or_raises(image_format: str, encode: Encode, sample: SampleRef) -> None:
    decoder = ImageDecoder()
    whole = encode(noise(), image_format)
    expected = decoder.decode(whole, sample)
    raised: list[DecodeError] = []
    for length in range(len(whole)):
        try:
            got = decoder.decode(whole[:length], sample)
        except DecodeError as exc:
            raised.append(exc)
        else:
            np.testing.assert_array_equal(got, expected, err_msg=f"cut to {length} of {len(whole)} bytes")
    assert len(raised) > len(whole) * 0.9
    assert {exc.key for exc in raised} == {sample.key}


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_damaged_file_decodes_to_its_shape_or_raises(image_format: str, encode: Encode, sample: SampleRef) -> None:
    decoder = ImageDecoder((10, 10), max_pixels=1_000_000)
    whole = encode(noise(), image_format)
    rng = np.random.default_rng(2)
    raised: list[DecodeError] = []
    for _ in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
        try:
            assert decoder.decode(damaged.tobytes(), sample).shape == (10, 10, 3)
        except DecodeError as exc:
            raised.append(exc)
    assert raised
    assert all(exc.reason and exc.key == sample.key for exc in raised)


def test_no_flipped_bit_of_a_png_goes_unseen(encode: Encode, sample: SampleRef) -> None:
    # PNG carries checksums. Pillow tells of broken pixels at the first load only: a second gives what it has.
    decoder = ImageDecoder()
    whole = encode(noise(), "PNG")
    expected = decoder.decode(whole, sample)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        try:
            np.testing.assert_array_equal(decoder.decode(bytes(damaged), sample), expected)
        except DecodeError:
            continue


def test_a_cut_jpeg_says_how_much_is_missing(encode: Encode, sample: SampleRef) -> None:
    blob = encode(noise(), "JPEG")
    with pytest.raises(DecodeError, match=r"train/cat/007.jpg: decode failed: .*truncated") as caught:
        ImageDecoder(size=(8, 8)).decode(blob[:-200], sample)
    assert "on_error='skip'" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("image_format", FORMATS)
def test_max_pixels_is_checked_in_the_header(image_format: str, encode: Encode, sample: SampleRef) -> None:
    blob = encode(noise(18, 22), image_format)
    assert ImageDecoder(max_pixels=18 * 22).decode(blob, sample).shape == (18, 22, 3)
    with pytest.raises(UnsafeImageError, match=r"22 x 18 pixels, more than max_pixels=395") as caught:
        ImageDecoder(max_pixels=18 * 22 - 1).decode(blob, sample)
    assert caught.value.key == sample.key


@pytest.mark.parametrize("side", [8_001, 10_000, 20_000, 1_000_000])
def test_a_decompression_bomb_is_refused_before_decoding(side: int, sample: SampleRef) -> None:
    with pytest.raises(UnsafeImageError, match="max_pixels=64000000"):
        ImageDecoder((8, 8)).decode(png_header(side, side), sample)


def test_max_pixels_alone_decides_not_pillows_global_limit(sample: SampleRef) -> None:
    # 100 Mpx: Image.open would warn, and warnings are errors here. The body is missing: a plain DecodeError.
    with pytest.raises(DecodeError) as caught:
        ImageDecoder((8, 8), max_pixels=200_000_000).decode(png_header(10_000, 10_000), sample)
    assert type(caught.value) is DecodeError


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
def test_a_gif_frame_larger_than_its_screen_is_a_bomb(side: int, sample: SampleRef) -> None:
    with pytest.raises(UnsafeImageError):
        ImageDecoder((8, 8)).decode(gif_with_frame(side, side), sample)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_format_that_is_not_on_the_list_is_refused(image_format: str, encode: Encode, sample: SampleRef) -> None:
    others = tuple(name for name in FORMATS if name != image_format)
    with pytest.raises(UnsafeImageError, match=f"it is a {image_format} image") as caught:
        ImageDecoder(formats=others).decode(encode(noise(), image_format), sample)
    assert caught.value.key == sample.key
    assert ImageDecoder(formats=(image_format,)).decode(encode(noise(), image_format), sample).any()


def test_a_wide_strip_padded_to_a_square_stays_small(encode: Encode, sample: SampleRef) -> None:
    # Padding before resizing would take a 40,000 x 40,000 picture.
    strip = np.full((1, 40_000, 3), 200, np.uint8)
    got: NDArray[Any] = ImageDecoder((64, 64), pad_to_aspect_ratio=True).decode(encode(strip, "PNG"), sample)
    np.testing.assert_array_equal(np.flatnonzero(got.max(axis=(1, 2))), [31])
