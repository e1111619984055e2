"""NpyDecoder: what numpy saves comes back; what it should not read is refused before it costs anything."""

from __future__ import annotations

import io
import struct
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aioloader.decode.npy import NpyDecoder
from aioloader.errors import DecodeError
from aioloader.types import Decoder, SampleRef

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = SampleRef(index=0, key="arrays/0.npy")


def saved(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def with_header(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + body


@given(
    array=hnp.arrays(
        dtype=hnp.integer_dtypes(endianness="?") | hnp.floating_dtypes(endianness="?") | hnp.boolean_dtypes(),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    fortran=st.booleans(),
)
def test_saved_arrays_come_back_native_and_in_c_order(array: NDArray[Any], fortran: bool) -> None:
    blob = saved(np.asarray(array, order="F" if fortran else "C"))
    got = NpyDecoder().decode(blob, KEY)
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)
    out = np.empty_like(got)
    assert NpyDecoder().decode(blob, KEY, None, out) is out
    np.testing.assert_array_equal(out, array)


def test_format_version_two_is_read() -> None:
    header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }"
    got = NpyDecoder().decode(with_header(header, b"\x01\x00\x02\x00", b"\x02\x00"), KEY)
    np.testing.assert_array_equal(got, [1, 2])


def test_an_out_of_another_shape_or_dtype_is_not_written() -> None:
    blob = saved(np.arange(3.0))
    for out in (np.zeros(4), np.zeros(3, np.float32)):
        got = NpyDecoder().decode(blob, KEY, None, out)
        assert got is not out
        np.testing.assert_array_equal(got, [0, 1, 2])
        assert not out.any()


@dataclass(frozen=True)
class Refused:
    id: str
    blob: bytes
    says: str


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 1000000), }"
ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, a=np.arange(3))


@pytest.mark.parametrize(
    "case",
    [
        Refused("800 GB", with_header(HUGE, bytes(64)), r"float64\[100000, 1000000\], 800000000000 bytes"),
        Refused("cut", saved(np.arange(9.0))[:-1], "72 bytes, not 71"),
        Refused("negative", with_header(HUGE.replace("100000,", "-1,"), bytes(64)), "its header says"),
        Refused("pickle", saved(np.array([{"a": 1}], object), allow_pickle=True), "Python objects"),
        Refused("npz", ARCHIVE.getvalue(), "npz"),
        Refused("empty", b"", "not a .npy file"),
        Refused("magic only", b"\x93NUMPY", "header cannot be read"),
        Refused("code", with_header("__import__('os').abort()"), "header cannot be read"),
        Refused("long header", with_header(HUGE + " " * 60_000), "header cannot be read"),
        Refused("version 3", with_header(HUGE, version=b"\x03\x00"), r"version \(3, 0\)"),
        Refused("jpeg", b"\xff\xd8\xff\xe0" + bytes(20), "not a .npy file"),
    ],
    ids=lambda case: case.id,
)
def test_what_cannot_be_read_safely_is_refused(case: Refused) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=case.says) as caught:
            NpyDecoder().decode(case.blob, KEY)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.key == KEY.key
    assert caught.value.hint


def test_every_cut_raises() -> None:
    whole = saved(np.arange(20))
    for length in range(len(whole)):
        with pytest.raises(DecodeError):
            NpyDecoder().decode(whole[:length], KEY)


def test_it_is_a_decoder() -> None:
    assert isinstance(NpyDecoder(), Decoder)
    assert repr(NpyDecoder()) == "NpyDecoder()"
