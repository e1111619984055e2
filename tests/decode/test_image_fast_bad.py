"""backend="fast" and what is broken or hostile."""

from __future__ import annotations

import io
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from aioloader.decode.image import ImageDecoder
from aioloader.errors import DecodeError, UnsafeImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.types import SampleRef

pytest.importorskip("simplejpeg")
pytest.importorskip("cv2")

FAST = ImageDecoder((10, 10), backend="fast", max_pixels=1_000_000)
PILLOW = ImageDecoder((10, 10), dct_scale=True, max_pixels=1_000_000)


def jpeg(height: int = 40, width: int = 52, **options: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def outcome(decoder: ImageDecoder, blob: bytes, sample: SampleRef) -> type[DecodeError] | NDArray[np.uint8]:
    try:
        return decoder.decode(blob, sample)
    except DecodeError as exc:
        return type(exc)


def announcing(height: int, width: int) -> bytes:
    """A JPEG whose header says it is larger than it is."""
    blob = jpeg()
    size = blob.index(b"\xff\xc0") + 5
    return blob[:size] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + blob[size + 4 :]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_file_fails_as_in_pillow(progressive: bool, sample: SampleRef) -> None:
    blob = jpeg(progressive=progressive)
    failed = 0
    for length in range(len(blob)):
        expected = outcome(PILLOW, blob[:length], sample)
        got = outcome(FAST, blob[:length], sample)
        if isinstance(expected, type):
            failed += 1
            assert got is expected, f"cut to {length} of {len(blob)} bytes"
        else:
            assert not isinstance(got, type)
    assert failed > len(blob) * 0.9


def test_a_damaged_file_fails_as_in_pillow_or_gives_its_shape(sample: SampleRef) -> None:
    blob = jpeg()
    rng = np.random.default_rng(2)
    failed = 0
    for _ in range(400):
        damaged = np.frombuffer(blob, np.uint8).copy()
        damaged[rng.integers(0, len(blob), 3)] = rng.integers(0, 256, 3)
        got = outcome(FAST, damaged.tobytes(), sample)
        expected = outcome(PILLOW, damaged.tobytes(), sample)
        if isinstance(got, type):
            failed += 1
            assert got is expected
        else:
            assert got.shape == (10, 10, 3)
    assert failed > 10


@pytest.mark.parametrize("where", ["in the header", "in the pixels", "ends early, as if it were meant"])
def test_a_file_that_pillow_can_read_past_a_blemish_gives_pillows_pixels(where: str, sample: SampleRef) -> None:
    # libjpeg warns of stray bytes and bad codes, and goes on; strict simplejpeg does not, so Pillow decodes these.
    blob = jpeg()
    tables = blob.index(b"\xff\xdb")
    middle = (blob.index(b"\xff\xda") + len(blob)) // 2
    blemished = {
        "in the header": blob[:tables] + b"stray" + blob[tables:],
        "in the pixels": blob[:middle] + b"\xff\x00" * 8 + blob[middle + 16 :],
        "ends early, as if it were meant": blob[:middle] + b"\xff\xd9",
    }[where]
    expected = outcome(PILLOW, blemished, sample)
    assert not isinstance(expected, type)
    np.testing.assert_array_equal(FAST.decode(blemished, sample), expected)


def test_what_failed_leaves_no_pixels_in_the_next_picture(sample: SampleRef) -> None:
    blob = jpeg()
    expected = FAST.decode(blob, sample)
    with pytest.raises(DecodeError, match="truncated"):
        FAST.decode(blob[:-400], sample)
    np.testing.assert_array_equal(FAST.decode(blob, sample), expected)


@pytest.mark.parametrize(("height", "width"), [(1001, 1000), (65_500, 65_500), (1, 65_535), (65_535, 16)])
def test_a_bomb_is_refused_before_anything_is_allocated(height: int, width: int, sample: SampleRef) -> None:
    decoder = ImageDecoder((10, 10), backend="fast", max_pixels=min(1_000_000, height * width - 1))
    blob = announcing(height, width)
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeImageError, match=f"{width} x {height} pixels, more than max_pixels=") as caught:
            decoder.decode(blob, sample)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.key == sample.key
    assert peak < 100_000


def test_the_last_pixel_allowed_is_decoded(sample: SampleRef) -> None:
    decoder = ImageDecoder((10, 10), backend="fast", max_pixels=40 * 52)
    assert decoder.decode(jpeg(), sample).shape == (10, 10, 3)
    with pytest.raises(UnsafeImageError, match="52 x 40"):
        ImageDecoder((10, 10), backend="fast", max_pixels=40 * 52 - 1).decode(jpeg(), sample)


def test_formats_that_are_not_on_the_list_are_refused(sample: SampleRef) -> None:
    with pytest.raises(UnsafeImageError, match="it is a JPEG image"):
        ImageDecoder((10, 10), backend="fast", formats=("PNG",)).decode(jpeg(), sample)


@pytest.mark.parametrize("blob", [b"", b"\xff\xd8\xff", b"<html>", b"\xff\xd8\xff" + bytes(100)], ids=repr)
def test_what_is_no_image_is_refused_as_in_pillow(blob: bytes, sample: SampleRef) -> None:
    with pytest.raises(DecodeError) as from_pillow:
        PILLOW.decode(blob, sample)
    with pytest.raises(DecodeError) as caught:
        FAST.decode(blob, sample)
    assert str(caught.value) == str(from_pillow.value)
