"""Labels: what a folder, a manifest or a callable said, as one array and the classes behind it.

All kinds of datasets encode here, so that ``label_mode`` means one thing everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from aioloader.errors import DatasetError, OptionError
from aioloader.storage.key_order import key_bytes
from aioloader.types import FieldSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

LabelMode: TypeAlias = Literal["int", "categorical", "binary"]

_MODES = ("int", "categorical", "binary")
_SHOWN = 5
"""How many offending samples an error names."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of N samples.

    ``values`` is int64 ``(N,)`` (class ids or the numbers given), float32 ``(N,)``, or a vector a sample
    ``(N, k)``. One-hot rows are made on access and never stored. ``classes[id]`` is a class's name, None
    where labels were numbers without names. ``num_classes`` is 0 where labels are not class ids.
    """

    values: NDArray[Any]
    classes: tuple[str, ...] | None
    mode: LabelMode
    num_classes: int

    def __post_init__(self) -> None:
        frozen(self.values)

    def at(self, index: int) -> Any:
        """One sample's label as the loader sees it.

        ``"int"``: a Python int, an np.float32 or a read-only row; ``"categorical"``: float32
        ``(num_classes,)``; ``"binary"``: float32 ``(1,)``.
        """
        value = self.values[index]
        if self.mode == "int":
            return int(value) if isinstance(value, np.integer) else value
        if self.mode == "binary":
            return np.array([value], np.float32)
        one_hot = np.zeros(self.num_classes, np.float32)
        one_hot[value] = 1.0
        return one_hot

    @property
    def spec(self) -> FieldSpec:
        """Shape and dtype of one sample's label as the loader sees it."""
        if self.mode == "categorical":
            return FieldSpec((self.num_classes,), np.dtype(np.float32))
        if self.mode == "binary":
            return FieldSpec((1,), np.dtype(np.float32))
        return FieldSpec(tuple(self.values.shape[1:]), self.values.dtype)

    def batch(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The labels at ``indices`` as one array, first axis the sample, each as ``at`` gives it."""
        values: NDArray[Any] = self.values[indices]
        if self.mode == "categorical":
            one_hot: NDArray[Any] = (values[:, None] == np.arange(self.num_classes)).astype(np.float32)
            return one_hot
        return values.astype(np.float32)[:, None] if self.mode == "binary" else values

    def take(self, indices: NDArray[np.int64]) -> Labels:
        """The labels of the samples at ``indices``; classes stay what they were."""
        return Labels(self.values[indices], self.classes, self.mode, self.num_classes)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, made read-only."""
    array.flags.writeable = False
    return array


def checked_mode(label_mode: object) -> LabelMode | None:
    """``label_mode`` if it is one; raises `OptionError`."""
    if label_mode is None or label_mode in _MODES:
        return cast("LabelMode | None", label_mode)
    raise OptionError("label_mode", repr(label_mode), "'int', 'categorical', 'binary' or None")


def checked_class_names(class_names: Iterable[object] | None) -> tuple[str, ...] | None:
    """``class_names`` as a tuple of distinct names; raises `OptionError`."""
    if class_names is None:
        return None
    given = tuple(class_names)
    names = tuple(name for name in given if isinstance(name, str) and name)
    if isinstance(class_names, str) or len(names) != len(given):
        raise OptionError("class_names", repr(class_names), "a list of names, such as ['cat', 'dog']")
    if not names or len(set(names)) != len(names):
        raise OptionError("class_names", repr(class_names), "at least one name, and no name twice")
    return names


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, pandas' NA and NaT, or blank text."""
    if isinstance(value, str):
        return not value or value.isspace()
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def encode(
    raw: Sequence[Any] | NDArray[Any],
    *,
    mode: LabelMode,
    class_names: tuple[str, ...] | None,
    place: Callable[[int], str],
    source: str,
    error: type[DatasetError] = DatasetError,
) -> Labels:
    """One label a sample, encoded.

    Text becomes class ids (classes sorted bytewise, or in the order of ``class_names``); whole numbers stay
    as int64 and, with ``class_names`` or a class mode, are ids; other numbers become float32; equally long
    lists of numbers become rows. ``place(i)`` says where sample i was written, ``source`` names the dataset.
    Raises ``error`` naming the first offending samples.
    """
    values = _array(raw, place, source, error)
    if values is None:
        return _by_name(cast("Sequence[str]", raw), mode, class_names, place, source, error)
    if values.ndim > 1 or values.dtype.kind == "f":
        if mode != "int" or class_names is not None:
            kind = "vectors" if values.ndim > 1 else "fractions"
            raise error(
                f"the labels of {source} are {kind} and cannot be classes; "
                "use label_mode='int' (numbers are handed out as they are) without class_names"
            )
        return Labels(values, None, mode, 0)
    return _by_id(values, mode, class_names, place, source, error)


def _by_name(
    raw: Sequence[str],
    mode: LabelMode,
    class_names: tuple[str, ...] | None,
    place: Callable[[int], str],
    source: str,
    error: type[DatasetError],
) -> Labels:
    classes = class_names if class_names is not None else tuple(sorted(set(raw), key=key_bytes))
    ids = {name: number for number, name in enumerate(classes)}
    unknown = [i for i, name in enumerate(raw) if name not in ids]
    if unknown:
        first = unknown[0]
        raise error(
            f"{source}: {place(first)} has the label {str(raw[first])!r}, which is not in "
            f"class_names={_some(classes)} ({len(unknown)} samples have such labels); "
            "add it to class_names or leave those samples out"
        )
    values = np.fromiter((ids[name] for name in raw), np.int64, len(raw))
    _check_binary(mode, len(classes), _some(classes), source, error)
    return Labels(values, classes, mode, len(classes))


def _by_id(
    values: NDArray[np.int64],
    mode: LabelMode,
    class_names: tuple[str, ...] | None,
    place: Callable[[int], str],
    source: str,
    error: type[DatasetError],
) -> Labels:
    if class_names is None and mode == "int":
        return Labels(values, None, mode, 0)
    top = int(values.max(initial=-1)) + 1
    num_classes = len(class_names) if class_names is not None else (2 if mode == "binary" else top)
    wrong = np.flatnonzero((values < 0) | (values >= num_classes))
    if len(wrong):
        first = int(wrong[0])
        raise error(
            f"{source}: {place(first)} has the label {int(values[first])}, which is no class id from 0 to "
            f"{num_classes - 1} ({len(wrong)} samples have such labels); "
            "number the classes from 0 and give class_names one name a class"
        )
    _check_binary(mode, num_classes, _some(class_names or ()), source, error)
    return Labels(values, class_names, mode, num_classes)


def _check_binary(mode: LabelMode, num_classes: int, names: str, source: str, error: type[DatasetError]) -> None:
    if mode == "binary" and num_classes != 2:
        raise error(
            f"label_mode='binary' needs exactly 2 classes and {source} has {num_classes}: {names}; "
            "use label_mode='int' or 'categorical'"
        )


def _array(
    raw: Sequence[Any] | NDArray[Any], place: Callable[[int], str], source: str, error: type[DatasetError]
) -> NDArray[Any] | None:
    """``raw`` as int64 or float32, or None where it is text."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "iubf":
        _refuse_missing(np.flatnonzero(np.isnan(raw)) if raw.dtype.kind == "f" else (), place, source, error)
        return _numbers(raw, source, error)
    _refuse_missing([i for i, value in enumerate(raw) if is_missing(value)], place, source, error)
    kinds: dict[str, int] = {}
    for kind in {_kind(type(value)) for value in raw}:
        kinds[kind] = next(i for i, value in enumerate(raw) if _kind(type(value)) == kind)
    if set(kinds) == {"text"}:
        return None
    if set(kinds) <= {"int", "float"} or set(kinds) == {"vector"}:
        try:
            return _numbers(np.asarray(list(raw)), source, error)
        except ValueError as exc:  # numpy's word for rows of unequal length
            if isinstance(exc, DatasetError):
                raise
            raise error(f"{source}: the labels are lists of unequal length; make them equally long") from exc
    if len(kinds) == 1:
        first = next(iter(kinds.values()))
        raise error(
            f"{source}: {place(first)} has a label of type {type(raw[first]).__name__}; "
            "labels are whole numbers, fractions, text, or equally long lists of numbers"
        )
    (first_kind, first), (other_kind, other) = sorted(kinds.items(), key=lambda kind: kind[1])[:2]
    raise error(
        f"{source}: labels are of different kinds, {first_kind} in {place(first)} and {other_kind} in "
        f"{place(other)}; make them all numbers or all text"
    )


def _kind(kind: type) -> str:
    if issubclass(kind, str):
        return "text"
    if issubclass(kind, (int, np.integer, np.bool_)):
        return "int"
    if issubclass(kind, (float, np.floating)):
        return "float"
    if issubclass(kind, (list, tuple, np.ndarray)):
        return "vector"
    return kind.__name__


def _numbers(array: NDArray[Any], source: str, error: type[DatasetError]) -> NDArray[Any]:
    if array.dtype.kind in "ib" or (array.dtype.kind == "u" and int(array.max(initial=0)) < 2**63):
        return array.astype(np.int64)  # a copy, always: it is made read-only
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise error(
                f"{source}: some labels are infinite, beyond float32 or no number; correct or leave out those samples"
            )
        return narrow
    raise error(f"{source}: some labels are not numbers that fit int64 or float32; correct them")


def _refuse_missing(
    rows: Sequence[int] | NDArray[np.intp],
    place: Callable[[int], str],
    source: str,
    error: type[DatasetError],
) -> None:
    if len(rows):
        named = ", ".join(place(int(row)) for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        raise error(f"{source}: no label in {named}{more}; fill them in, leave those samples out, or pass label=None")


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:10])
    return f"[{listed}{', ...' if len(names) > 10 else ''}]"
