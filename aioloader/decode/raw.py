"""`RawDecoder`: bytes as they are."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aioloader.errors import DecodeError, OptionError
from aioloader.redact import shown_key
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class RawDecoder:
    """Bytes to an array of ``dtype`` and ``shape``; without a shape ``(items,)``, set by the first sample.

    ``dtype`` is a number's; name the byte order where the files have another than this machine: ``">f4"``
    (the array is always in the machine's own). Raises `DecodeError` where the length does not fit. Needs no
    randomness and writes into ``out``.
    """

    needs_rng: ClassVar[bool] = False
    writes_out: ClassVar[bool] = True
    runs_inline: ClassVar[bool] = True

    def __init__(self, dtype: DTypeLike = "uint8", shape: tuple[int, ...] | None = None) -> None:
        try:
            self._dtype: np.dtype[Any] = np.dtype(dtype)
        except TypeError:
            raise OptionError("dtype", repr(dtype), "the name of a numpy dtype, such as 'float32'") from None
        if self._dtype.kind not in "biufc":
            raise OptionError("dtype", repr(dtype), "a dtype of numbers, such as 'float32'")
        self._shape: tuple[int, ...] | None = None
        if shape is not None:
            try:
                self._shape = tuple(operator.index(side) for side in shape)
            except TypeError:
                raise OptionError("shape", repr(shape), "a tuple of sizes, such as (28, 28)") from None
            if min(self._shape, default=0) < 0:
                raise OptionError("shape", repr(shape), "no negative size")

    def __repr__(self) -> str:
        return f"RawDecoder(dtype={self._dtype.str!r}, shape={self._shape})"

    def spec(self) -> FieldSpec | None:
        """``dtype`` and ``shape``, or None where the first sample sets the length."""
        return None if self._shape is None else FieldSpec(self._shape, self._dtype.newbyteorder("="))

    def decode(
        self,
        data: bytes,
        sample: SampleRef,
        rng: np.random.Generator | None = None,
        out: NDArray[np.generic] | None = None,
    ) -> NDArray[np.generic]:
        """``data`` as numbers, copied into ``out`` where it is given and fits; writable."""
        shape = self._shape
        if shape is not None and len(data) != math.prod(shape) * self._dtype.itemsize:
            expected = math.prod(shape) * self._dtype.itemsize
            raise DecodeError(
                f"it has {len(data)} bytes, but {self._dtype}{list(shape)} takes {expected}",
                shown_key(sample.key),
                "Check dtype= and shape= of RawDecoder, or the file.",
            )
        if len(data) % self._dtype.itemsize:
            raise DecodeError(
                f"its {len(data)} bytes are no multiple of {self._dtype.itemsize}, one {self._dtype}",
                shown_key(sample.key),
                "Check dtype= of RawDecoder, or the file.",
            )
        array: NDArray[np.generic] = np.frombuffer(data, self._dtype)
        if shape is not None:
            array = array.reshape(shape)
        if out is not None and out.shape == array.shape:
            out[...] = array
            return out
        return array.astype(self._dtype.newbyteorder("="))
