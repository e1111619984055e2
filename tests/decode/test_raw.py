"""RawDecoder: bytes as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aioloader.decode.raw import RawDecoder
from aioloader.errors import DecodeError, OptionError
from aioloader.types import Decoder, FieldSpec, SampleRef


def test_bytes_are_themselves(sample: SampleRef) -> None:
    decoder = RawDecoder()
    assert decoder.spec() is None
    np.testing.assert_array_equal(decoder.decode(b"\x00\x07\xff", sample), np.array([0, 7, 255], np.uint8))
    assert decoder.decode(b"", sample).shape == (0,)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">i2", "bool", "<c8"])
def test_numbers_of_either_byte_order_come_out_native(dtype: str, sample: SampleRef) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    decoder = RawDecoder(dtype, shape=(2, 3))
    got = decoder.decode(values.tobytes(), sample)
    assert got.dtype.isnative
    assert got.flags.writeable
    np.testing.assert_array_equal(got, values)
    assert decoder.spec() == FieldSpec.of(got)
    out = np.empty_like(got)
    assert decoder.decode(values.tobytes(), sample, None, out) is out
    np.testing.assert_array_equal(out, values)


def test_a_wrong_length_names_the_sample_and_both_sizes(sample: SampleRef) -> None:
    with pytest.raises(DecodeError, match=r"has 23 bytes, but float32\[2, 3\] takes 24") as caught:
        RawDecoder("float32", (2, 3)).decode(bytes(23), sample)
    assert caught.value.key == sample.key
    with pytest.raises(DecodeError, match="23 bytes are no multiple of 4"):
        RawDecoder("float32").decode(bytes(23), sample)


@pytest.mark.parametrize(
    ("option", "options"),
    [
        ("dtype", {"dtype": "no such"}),
        ("dtype", {"dtype": "object"}),
        ("dtype", {"dtype": "S4"}),
        ("dtype", {"dtype": "datetime64[s]"}),
        ("shape", {"shape": 28}),
        ("shape", {"shape": (28, -1)}),
        ("shape", {"shape": (2.5,)}),
    ],
)
def test_a_wrong_option_is_named(option: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        RawDecoder(**options)
    assert caught.value.option == option


def test_it_is_a_decoder_that_shows_its_options() -> None:
    assert isinstance(RawDecoder(), Decoder)
    assert repr(RawDecoder(">f4", (2,))) == "RawDecoder(dtype='>f4', shape=(2,))"
