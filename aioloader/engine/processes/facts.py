"""Samples on their way into a worker process, errors and fields as JSON on their way out."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader import errors
from aioloader.errors import DatasetError, DecodeError, InvariantError, OptionError, RemoteError, SampleError
from aioloader.redact import shown_key
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from aioloader.types import Tree


def pack_sample(sample: SampleRef) -> tuple[Any, ...]:
    """What a worker process must know of a sample, in few bytes: there is one for each."""
    return (
        sample.index,
        sample.key,
        sample.label,
        sample.size_bytes,
        sample.etag,
        sample.byte_range,
        sample.columns or None,
    )


def unpack_sample(facts: tuple[Any, ...]) -> SampleRef:
    """The sample again."""
    index, key, label, size_bytes, etag, byte_range, columns = facts
    return SampleRef(
        index=index,
        key=key,
        label=label,
        size_bytes=size_bytes,
        etag=etag,
        byte_range=byte_range,
        columns=columns or {},
    )


def pack_error(error: SampleError, sample: SampleRef | None) -> dict[str, Any]:
    """What a `SampleError` says, its cause as the text of its traceback."""
    cause = ""
    if error.__cause__ is not None:
        cause = "".join(traceback.format_exception(error.__cause__)).rstrip()
        if sample is not None:
            cause = cause.replace(sample.key, shown_key(sample.key))
    return {
        "class": next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__),
        "reason": error.reason,
        "key": error.key,
        "hint": error.hint,
        "byte_range": error.byte_range,
        "attempts": error.attempts,
        "stage": error.stage,
        "sample_id": error.sample_id,
        "cause": cause,
        "notes": list(getattr(error, "__notes__", ())),
    }


def unpack_error(facts: dict[str, Any]) -> SampleError:
    """The error again, its cause a `RemoteError` that prints the child's traceback."""
    kind = getattr(errors, str(facts["class"]), None)
    if not (isinstance(kind, type) and issubclass(kind, SampleError)):
        kind = DecodeError
    byte_range = facts["byte_range"]
    error = kind(
        str(facts["reason"]),
        str(facts["key"]),
        str(facts["hint"]),
        None if byte_range is None else (int(byte_range[0]), int(byte_range[1])),
        int(facts["attempts"]),
        str(facts["stage"]),
        None if facts["sample_id"] is None else int(facts["sample_id"]),
    )
    for note in facts["notes"]:
        error.add_note(str(note))
    if facts["cause"]:
        error.__cause__ = RemoteError(str(facts["cause"]))
    return error


def pack_breakdown(exc: BaseException) -> dict[str, Any]:
    """What ends a whole stream: an option that cannot work, a broken dataset, a defect of ours."""
    text = "".join(traceback.format_exception(exc)).rstrip()
    if isinstance(exc, OptionError):
        return {"class": "OptionError", "fields": [exc.option, exc.got, exc.expected], "cause": text}
    kind = "DatasetError" if isinstance(exc, DatasetError) else "InvariantError"
    return {"class": kind, "fields": [str(exc)], "cause": text}


def unpack_breakdown(facts: dict[str, Any]) -> BaseException:
    """The error that ends the stream in its consumer."""
    fields = [str(field) for field in facts["fields"]]
    error: BaseException
    if facts["class"] == "OptionError" and len(fields) == 3:
        error = OptionError(*fields)
    elif facts["class"] == "DatasetError":
        error = DatasetError(*fields)
    else:
        error = InvariantError(*fields)
    error.__cause__ = RemoteError(str(facts["cause"]))
    return error


def pack_spec(tree: Tree) -> Any:
    """A tree of `FieldSpec`. Raises TypeError for a dict whose names are not text or whole numbers."""
    if isinstance(tree, dict):
        for name in tree:
            if type(name) not in (str, int):
                raise TypeError(f"a field is named {name!r}")
        return {"dict": [[name, pack_spec(branch)] for name, branch in tree.items()]}
    if isinstance(tree, tuple):
        return {"tuple": [pack_spec(branch) for branch in tree]}
    return {"shape": list(tree.shape), "dtype": _dtype_name(tree.dtype)}


def unpack_spec(facts: Any) -> Tree:
    """The tree again."""
    if "dict" in facts:
        return {name: unpack_spec(branch) for name, branch in facts["dict"]}
    if "tuple" in facts:
        return tuple([unpack_spec(branch) for branch in facts["tuple"]])
    return FieldSpec(tuple(int(side) for side in facts["shape"]), _dtype(str(facts["dtype"])))


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.kind == "V" else dtype.str


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # what bfloat16 and float8 come from: the decoder that returns them has imported it

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found
