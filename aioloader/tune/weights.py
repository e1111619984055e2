"""``class_weight`` and ``sample_weight``, checked: a wrong weight is silent wrong training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.dataset.samples import Dataset


def class_weights(data: Dataset, class_weight: Mapping[Any, float] | None) -> dict[int, float] | None:
    """Weights by class id; the keys may be ids or the dataset's class names, and not all need one.

    Raises `OptionError` for a class that is not there and for a weight that is no finite number from 0.
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        raise OptionError("class_weight", repr(class_weight), "a dict from class id or name to weight")
    ids = {name: index for index, name in enumerate(data.classes or ())}
    weights: dict[int, float] = {}
    for label, weight in class_weight.items():
        class_id = ids.get(label) if isinstance(label, str) else label
        known = isinstance(class_id, int | np.integer) and not isinstance(class_id, bool)
        if class_id is None or not known or (ids and not 0 <= class_id < len(ids)):
            classes = ", ".join(f"{index} ({name})" for name, index in list(ids.items())[:10])
            raise OptionError("class_weight", f"a dict with {label!r}", f"class ids, of {classes or 'whole numbers'}")
        if not _is_weight(weight):
            raise OptionError("class_weight", f"{weight!r} for {label!r}", "a finite number of at least 0")
        weights[int(class_id)] = float(weight)
    return weights


def weight_column(data: Dataset, name: str | None) -> NDArray[np.float32] | None:
    """The column ``name`` as float32 ``(N,)``. Raises `OptionError` naming the columns, or the first bad row."""
    if name is None:
        return None
    if name not in data.columns:
        raise OptionError("sample_weight", repr(name), f"one of the dataset's columns: {sorted(data.columns)}")
    column = list(data.columns[name])
    for row, weight in enumerate(column):
        if not _is_weight(weight):
            raise OptionError(
                "sample_weight", repr(name), f"a column of finite numbers from 0; sample {row} has {weight!r}"
            )
    return np.asarray(column, dtype=np.float32)


def _is_weight(weight: object) -> bool:
    if isinstance(weight, bool) or not isinstance(weight, int | float | np.integer | np.floating):
        return False
    return 0 <= float(weight) < math.inf
