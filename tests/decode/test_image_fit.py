"""Sizes, crops, bars and turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from aioloader.decode.image import ImageDecoder
from aioloader.decode.image_fit import centre_crop, centre_pad

if TYPE_CHECKING:
    from aioloader.types import SampleRef

Encode = Callable[..., bytes]
Photo = NDArray[np.uint8]

# Pillow's operation that makes a photo with this EXIF orientation from the upright one.
STORE_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def triangle(source: int, target: int, start: float, stop: float) -> NDArray[np.float64]:
    """Weights (target, source) of antialiased linear interpolation of the stretch [start, stop)."""
    scale = (stop - start) / target
    centres = start + (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, np.newaxis]) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def resized(photo: Photo, size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> NDArray[np.float64]:
    left, top, right, bottom = box or (0, 0, photo.shape[1], photo.shape[0])
    rows = triangle(photo.shape[0], size[0], top, bottom)
    columns = triangle(photo.shape[1], size[1], left, right)
    result: NDArray[np.float64] = np.einsum("ij,jkc,lk->ilc", rows, photo.astype(float), columns)
    return result


def turned(photo: Photo, orientation: int) -> tuple[Image.Image, Image.Exif]:
    image = Image.fromarray(photo)
    operation = STORE_AS[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    return (image if operation is None else image.transpose(operation)), exif


@pytest.mark.parametrize("size", [(30, 40), (17, 64), (120, 160), (1, 1)])
def test_resize_is_antialiased_linear(size: tuple[int, int], photo: Photo, encode: Encode, sample: SampleRef) -> None:
    got = ImageDecoder(size).decode(encode(photo, "PNG"), sample)
    assert got.shape == (*size, 3)
    np.testing.assert_allclose(got, resized(photo, size), rtol=0, atol=1.01)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_the_files_own_size_is_left_alone(interpolation: str, photo: Photo, encode: Encode, sample: SampleRef) -> None:
    decoder = ImageDecoder((60, 80), interpolation=interpolation)
    np.testing.assert_array_equal(decoder.decode(encode(photo, "PNG"), sample), photo)


def test_interpolations_differ_and_nearest_takes_only_source_pixels(
    photo: Photo, encode: Encode, sample: SampleRef
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, photo.shape, dtype=np.uint8)
    blob = encode(noise, "PNG")
    results = {
        name: ImageDecoder((20, 27), interpolation=name).decode(blob, sample)
        for name in ("nearest", "bilinear", "bicubic", "lanczos", "area")
    }
    assert len({result.tobytes() for result in results.values()}) == 5
    source = {tuple(pixel) for pixel in noise.reshape(-1, 3)}
    assert {tuple(pixel) for pixel in results["nearest"].reshape(-1, 3)} <= source


def test_size_none_keeps_each_files_shape(photo: Photo, encode: Encode, sample: SampleRef) -> None:
    decoder = ImageDecoder()
    assert decoder.spec() is None
    np.testing.assert_array_equal(decoder.decode(encode(photo, "PNG"), sample), photo)
    np.testing.assert_array_equal(decoder.decode(encode(photo[:9], "PNG"), sample), photo[:9])


@pytest.mark.parametrize("size", [(20, 20), (20, 60), (90, 10)])
def test_crop_takes_the_centre_of_the_targets_shape(
    size: tuple[int, int], photo: Photo, encode: Encode, sample: SampleRef
) -> None:
    got = ImageDecoder(size, crop_to_aspect_ratio=True).decode(encode(photo, "PNG"), sample)
    np.testing.assert_allclose(got, resized(photo, size, centre_crop((60, 80), size)), rtol=0, atol=1.01)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(40, 40), (20, 60)])
def test_pad_adds_black_bars_and_keeps_the_proportions(
    size: tuple[int, int], mode: str, photo: Photo, encode: Encode, sample: SampleRef
) -> None:
    bright = np.maximum(photo, 10)
    left, top, right, bottom = centre_pad((60, 80), size)
    out = np.full((*size, len(mode)), 77, np.uint8)
    got = ImageDecoder(size, mode=mode, pad_to_aspect_ratio=True).decode(encode(bright, "PNG"), sample, None, out)
    inside = np.zeros(size, bool)
    inside[top:bottom, left:right] = True
    assert 0 < inside.mean() < 1
    assert not got[~inside].any()
    expected = resized(bright, (bottom - top, right - left)).reshape(-1, 3)
    np.testing.assert_allclose(got[inside][:, :3], expected, rtol=0, atol=1.01)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_photo_upright(
    orientation: int, image_format: str, photo: Photo, encode: Encode, sample: SampleRef
) -> None:
    stored, exif = turned(photo, orientation)
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if image_format == "JPEG" else {}
    if image_format == "WEBP":
        options = {"lossless": True}
    got = ImageDecoder().decode(encode(stored, image_format, exif=exif, **options), sample)
    np.testing.assert_allclose(got, photo.astype(float), rtol=0, atol=5 if image_format == "JPEG" else 0)


@pytest.mark.parametrize(
    "option",
    [{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}],
    ids=["stretch", "crop", "pad"],
)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_is_fitted_like_the_upright_one(
    orientation: int,
    image_format: str,
    option: dict[str, bool],
    photo: Photo,
    encode: Encode,
    sample: SampleRef,
) -> None:
    upright = photo[:-1, :-2]  # odd remainders: a centre that lies between two pixels
    stored, exif = turned(upright, orientation)
    decoder = ImageDecoder((24, 31), **option)  # type: ignore[arg-type]  # only bools
    got = decoder.decode(encode(stored, image_format, exif=exif), sample)
    expected = decoder.decode(encode(upright, image_format), sample)
    # Columns and rows are resized in the other order: each rounds once.
    np.testing.assert_allclose(got, expected.astype(float), rtol=0, atol=2)


def test_exif_false_leaves_the_photo_as_stored(photo: Photo, encode: Encode, sample: SampleRef) -> None:
    stored, exif = turned(photo, 6)
    got = ImageDecoder(exif=False).decode(encode(stored, "PNG", exif=exif), sample)
    np.testing.assert_array_equal(got, np.asarray(stored))


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_an_unknown_orientation_means_upright(
    orientation: int, photo: Photo, encode: Encode, sample: SampleRef
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    got = ImageDecoder().decode(encode(photo, "PNG", exif=exif), sample)
    np.testing.assert_array_equal(got, photo)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_unreadable_exif_means_upright(image_format: str, photo: Photo, encode: Encode, sample: SampleRef) -> None:
    plain = encode(photo, image_format)
    blob = encode(photo, image_format, exif=b"Exif\0\0no TIFF header")
    assert b"no TIFF header" in blob
    np.testing.assert_array_equal(ImageDecoder().decode(blob, sample), ImageDecoder().decode(plain, sample))


def test_gif_gives_its_first_frame(photo: Photo, encode: Encode, sample: SampleRef) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    got = ImageDecoder().decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), sample)
    np.testing.assert_array_equal(got, np.broadcast_to([255, 0, 0], (8, 8, 3)))


sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(source=sizes, target=sizes)
def test_boxes_lie_inside_and_in_the_middle(source: tuple[int, int], target: tuple[int, int]) -> None:
    for (left, top, right, bottom), whole in (
        (centre_crop(source, target), source),
        (centre_pad(source, target), target),
    ):
        assert 0 <= top < bottom <= whole[0]
        assert 0 <= left < right <= whole[1]
        assert (top, left) == ((whole[0] - (bottom - top)) // 2, (whole[1] - (right - left)) // 2)
        assert (bottom - top, right - left)[0] == whole[0] or right - left == whole[1]


def test_crop_box_is_keras() -> None:
    # keras.utils.image_utils.smart_resize documents this one: (340, 500) to a square takes (340, 340).
    assert centre_crop((340, 500), (200, 200)) == (80, 0, 420, 340)
