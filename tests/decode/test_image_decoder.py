"""ImageDecoder's options, its `out`, and its use from several threads."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aioloader.decode.image import ImageDecoder
from aioloader.errors import OptionError
from aioloader.types import Decoder, FieldSpec, SampleRef

Encode = Callable[..., bytes]
Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class BadOption:
    id: str
    options: dict[str, Any]
    option: str
    says: str = field(default="")


@pytest.mark.parametrize(
    "case",
    [
        BadOption("bare int", {"size": 224}, "size", r"size=\(224, 224\)"),
        BadOption("three sides", {"size": (1, 2, 3)}, "size", r"\(height, width\)"),
        BadOption("floats", {"size": (2.0, 2.0)}, "size", r"\(height, width\)"),
        BadOption("zero", {"size": (0, 5)}, "size", "at least 1"),
        BadOption("text", {"size": "22"}, "size", r"\(height, width\)"),
        BadOption("mode", {"mode": "rgb"}, "mode", "'L', 'RGB', 'RGBA'"),
        BadOption("list of modes", {"mode": ["RGB"]}, "mode", "'RGB'"),
        BadOption("interpolation", {"interpolation": "cubic"}, "interpolation", "'bicubic'"),
        BadOption("backend", {"backend": "opencv"}, "backend", "'pillow', 'fast'"),
        BadOption("aliased Pillow", {"antialias": False}, "antialias", "backend='fast'"),
        BadOption(
            "aliased cubic",
            {"antialias": False, "backend": "fast", "interpolation": "bicubic"},
            "antialias",
            "'bilinear'",
        ),
        BadOption(
            "crop and pad",
            {"size": (2, 2), "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True},
            "pad_to_aspect_ratio",
            "crop_to_aspect_ratio",
        ),
        BadOption("crop alone", {"crop_to_aspect_ratio": True}, "crop_to_aspect_ratio", "size="),
        BadOption("pad alone", {"pad_to_aspect_ratio": True}, "pad_to_aspect_ratio", "size="),
        BadOption("format", {"formats": ("JPEG", "EPS")}, "formats", "'PNG'"),
        BadOption("one format", {"formats": "JPEG"}, "formats", "tuple"),
        BadOption("no format", {"formats": ()}, "formats", "tuple"),
        BadOption("no pixels", {"max_pixels": 0}, "max_pixels", "positive"),
        BadOption("part of a pixel", {"max_pixels": 1e6}, "max_pixels", "positive"),
    ],
    ids=lambda case: case.id,
)
def test_a_wrong_option_is_named_with_what_would_do(case: BadOption) -> None:
    with pytest.raises(OptionError, match=case.says) as caught:
        ImageDecoder(**case.options)
    assert caught.value.option == case.option


def test_it_is_a_decoder_whose_repr_shows_what_was_set_and_whose_copy_is_equal() -> None:
    decoder = ImageDecoder(size=[np.int64(64), 32], mode="L")  # type: ignore[arg-type]  # lists are accepted
    assert isinstance(decoder, Decoder)
    assert decoder.spec() == FieldSpec((64, 32, 1), np.dtype("uint8"))
    assert repr(decoder) == "ImageDecoder(size=(64, 32), mode='L')"
    assert pickle.loads(pickle.dumps(decoder)) == decoder


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_out_is_written_in_place_and_returned(
    mode: str, image_format: str, photo: Photo, encode: Encode, sample: SampleRef
) -> None:
    decoder = ImageDecoder((20, 30), mode=mode)
    channels = len(mode)
    slab = np.full((3, 20 * 30 * channels + 64), 99, np.uint8)
    out = slab[1, : 20 * 30 * channels].reshape(20, 30, channels)
    blob = encode(photo, image_format)
    result = decoder.decode(blob, sample, np.random.default_rng(0), out)
    assert result is out
    np.testing.assert_array_equal(slab[1, : out.size].reshape(out.shape), decoder.decode(blob, sample))
    assert (slab[[0, 2]] == 99).all()
    assert (slab[1, out.size :] == 99).all()


def test_without_out_the_array_is_writable(photo: Photo, encode: Encode, sample: SampleRef) -> None:
    got = ImageDecoder().decode(encode(photo, "PNG"), sample)
    got += 1
    np.testing.assert_array_equal(got, photo + np.uint8(1))


def test_threads_share_one_decoder(photo: Photo, encode: Encode, sample: SampleRef) -> None:
    decoder = ImageDecoder((33, 47), crop_to_aspect_ratio=True)
    blobs = [
        encode(np.roll(photo, shift, axis=1), image_format)
        for shift in range(8)
        for image_format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
    ]
    expected = [decoder.decode(blob, sample) for blob in blobs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            for got, one in zip(pool.map(lambda blob: decoder.decode(blob, sample), blobs), expected, strict=True):
                np.testing.assert_array_equal(got, one)
