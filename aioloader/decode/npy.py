"""`NpyDecoder`: ``.npy`` files to arrays, without pickle and without trusting the header."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.lib import format as npy_format

from aioloader.errors import DecodeError
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.types import SampleRef

_HINT = "Check the file, or pass on_error='skip' to go on without it."


class NpyDecoder:
    """One ``.npy`` file to the array in it, in C order and this machine's byte order.

    Never unpickles: object arrays are refused. The header's shape is compared with the bytes that are there
    before anything is allocated. Raises `DecodeError`. Needs no randomness and writes into ``out``.
    """

    needs_rng: ClassVar[bool] = False
    writes_out: ClassVar[bool] = True
    runs_inline: ClassVar[bool] = True

    def __repr__(self) -> str:
        return "NpyDecoder()"

    def spec(self) -> None:
        """None: the first sample sets shape and dtype."""

    def decode(
        self,
        data: bytes,
        sample: SampleRef,
        rng: np.random.Generator | None = None,
        out: NDArray[np.generic] | None = None,
    ) -> NDArray[np.generic]:
        """The array in ``data``, copied into ``out`` where it is given and fits; writable."""
        array = _view(data, shown_key(sample.key))
        if out is not None and out.shape == array.shape and out.dtype == array.dtype.newbyteorder("="):
            out[...] = array
            return out
        return array.astype(array.dtype.newbyteorder("="), order="C")


def _view(data: bytes, key: str) -> NDArray[np.generic]:
    if bytes(data[:4]) == b"PK\x03\x04":
        raise DecodeError(
            "it is a zip archive (.npz?), and NpyDecoder reads single .npy files",
            key,
            "Pass a function as decode=: lambda data: dict(np.load(io.BytesIO(data))).",
        )
    if bytes(data[: npy_format.MAGIC_LEN - 2]) != npy_format.MAGIC_PREFIX:
        raise DecodeError(f"it is not a .npy file; it begins with {bytes(data[:12])!r}", key, _HINT)
    file = io.BytesIO(data)
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_2_0(file)
        else:  # 3.0 exists for Unicode field names, which no batch can hold
            raise DecodeError(f"its format version {version} is not one of (1, 0), (2, 0)", key, _HINT)
    except DecodeError:
        raise
    except Exception as exc:  # the header is a Python literal: parsing it raises many things
        raise DecodeError(f"its header cannot be read: {exc}", key, _HINT) from exc
    if dtype.hasobject:
        raise DecodeError(
            "it holds Python objects, which would have to be unpickled",
            key,
            "Save numbers: np.save(file, array.astype('float32')).",
        )
    start = file.tell()
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > len(data) - start:
        raise DecodeError(
            f"its header says {dtype}{list(shape)}, {count * dtype.itemsize} bytes, not {len(data) - start}",
            key,
            _HINT,
        )
    if count == 0:
        return np.empty(shape, dtype)
    flat: NDArray[np.generic] = np.frombuffer(data, dtype, count, start)
    return flat.reshape(shape, order="F" if fortran_order else "C")
