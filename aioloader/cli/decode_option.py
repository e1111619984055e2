"""``--decode`` of the commands that read a user's own data: what becomes of a sample's bytes."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.decode.function import BoundDecoder, as_decoder
from aioloader.decode.image import ImageDecoder
from aioloader.errors import OptionError
from aioloader.types import FieldSpec, UpTo

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHOICES = "image:HEIGHTxWIDTH, fast:HEIGHTxWIDTH, raw, none, or the module:function of a decoder of your own"

_IMAGE = re.compile(r"(image|fast):(\d{1,5})x(\d{1,5})")
_FUNCTION = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)")


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """``decode`` and ``spec`` as `aioloader.Loader` takes them, and ``bound``: the decoder as anybody calls it."""

    decode: Any
    spec: FieldSpec | None
    bound: BoundDecoder


def code_of(text: str) -> str:
    """What a program writes for ``text``; imports nothing of the user's."""
    if found := _IMAGE.fullmatch(text):
        more = "" if found[1] == "image" else ', backend="fast"'
        return f"al.ImageDecoder(size=({int(found[2])}, {int(found[3])}){more})"
    return text.rpartition(":")[2].rpartition(".")[2] if ":" in text else "your_decoder"


def decoding(text: str, largest_bytes: int | None) -> Decoding:
    """What ``text`` names; ``largest_bytes`` is the longest sample's length, None where it is unknown.

    Imports the user's module, from the working directory too. Raises `OptionError`.
    """
    if found := _IMAGE.fullmatch(text):
        size = int(found[2]), int(found[3])
        return _made(ImageDecoder(size, backend="pillow" if found[1] == "image" else "fast"))
    if text == "none":
        return _made(length_of)
    if text == "raw":
        if largest_bytes is None:
            raise OptionError("decode", "'raw'", "a listing that tells sizes; this one does not, take none")
        spec = FieldSpec((UpTo(largest_bytes),), np.dtype(np.uint8))
        return _made(bytes_of, spec)
    if text.startswith(("image:", "fast:")) or (found := _FUNCTION.fullmatch(text)) is None:
        raise OptionError("decode", repr(text), CHOICES)
    made = _made(_imported(text, found[1], found[2]))
    if made.bound.is_async:
        raise OptionError("decode", repr(text), "a plain function: other loaders cannot call an async one")
    return made


def _made(decode: Any, spec: FieldSpec | None = None) -> Decoding:
    return Decoding(decode=decode, spec=spec, bound=as_decoder(decode))


def _imported(text: str, module_name: str, names: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there by itself
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for name in names.split("."):
            found = getattr(found, name)
    except Exception as exc:
        said = f"{type(exc).__name__}: {exc}"
        raise OptionError(
            "decode", repr(text), f"a function that can be imported from here; it ends in {said}"
        ) from exc
    return found


def length_of(data: bytes) -> NDArray[np.int64]:
    """How many bytes came; int64 of no axis."""
    return np.array(len(data))


def bytes_of(data: bytes) -> NDArray[np.uint8]:
    """The bytes as they are; uint8 ``(bytes,)``."""
    return np.frombuffer(data, np.uint8)
