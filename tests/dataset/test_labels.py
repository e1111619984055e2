"""What becomes of labels: class ids, numbers, one-hot rows, or one sentence that says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.dataset.labels import Labels, checked_class_names, checked_mode, encode
from aioloader.errors import DatasetError, ManifestError, OptionError
from aioloader.types import FieldSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.dataset.labels import LabelMode


def encoded(raw: Any, mode: LabelMode = "int", class_names: Sequence[str] | None = None) -> Labels:
    return encode(
        raw,
        mode=mode,
        class_names=None if class_names is None else tuple(class_names),
        place=lambda row: f"row {row}",
        source="the table",
    )


@dataclass(frozen=True, kw_only=True)
class Good:
    id: str
    raw: Any
    mode: LabelMode = "int"
    class_names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    values: Any
    first: Any
    spec: FieldSpec


def spec(shape: tuple[int, ...], dtype: Any) -> FieldSpec:
    return FieldSpec(shape, np.dtype(dtype))


GOOD = [
    Good(
        id="text",
        raw=["dog", "cat", "dog"],
        classes=("cat", "dog"),
        values=np.array([1, 0, 1], np.int64),
        first=1,
        spec=spec((), np.int64),
    ),
    Good(
        id="text in the order of class_names, one of them empty",
        raw=["dog", "cat"],
        class_names=("dog", "emu", "cat"),
        classes=("dog", "emu", "cat"),
        values=np.array([0, 2], np.int64),
        first=0,
        spec=spec((), np.int64),
    ),
    Good(
        id="text one-hot",
        raw=["dog", "cat"],
        mode="categorical",
        classes=("cat", "dog"),
        values=np.array([1, 0], np.int64),
        first=np.array([0, 1], np.float32),
        spec=spec((2,), np.float32),
    ),
    Good(
        id="text binary",
        raw=["dog", "cat"],
        mode="binary",
        classes=("cat", "dog"),
        values=np.array([1, 0], np.int64),
        first=np.array([1], np.float32),
        spec=spec((1,), np.float32),
    ),
    Good(
        id="whole numbers",
        raw=[7, -3],
        values=np.array([7, -3], np.int64),
        first=7,
        spec=spec((), np.int64),
    ),
    Good(
        id="small unsigned array",
        raw=np.array([3, 200], np.uint8),
        values=np.array([3, 200], np.int64),
        first=3,
        spec=spec((), np.int64),
    ),
    Good(
        id="booleans",
        raw=[True, False],
        values=np.array([1, 0], np.int64),
        first=1,
        spec=spec((), np.int64),
    ),
    Good(
        id="ids with names",
        raw=[1, 0],
        class_names=("cat", "dog"),
        classes=("cat", "dog"),
        values=np.array([1, 0], np.int64),
        first=1,
        spec=spec((), np.int64),
    ),
    Good(
        id="ids one-hot without names",
        raw=[1, 3],
        mode="categorical",
        values=np.array([1, 3], np.int64),
        first=np.array([0, 1, 0, 0], np.float32),
        spec=spec((4,), np.float32),
    ),
    Good(
        id="ids binary, only one of them present",
        raw=[0, 0],
        mode="binary",
        values=np.array([0, 0], np.int64),
        first=np.array([0], np.float32),
        spec=spec((1,), np.float32),
    ),
    Good(
        id="fractions and whole numbers",
        raw=[0.5, 2],
        values=np.array([0.5, 2], np.float32),
        first=np.float32(0.5),
        spec=spec((), np.float32),
    ),
    Good(
        id="vectors",
        raw=[[1, 2, 3], (4, 5, 6)],
        values=np.array([[1, 2, 3], [4, 5, 6]], np.int64),
        first=np.array([1, 2, 3], np.int64),
        spec=spec((3,), np.int64),
    ),
    Good(
        id="arrays",
        raw=[np.zeros(2, np.float64), np.ones(2, np.float64)],
        values=np.array([[0, 0], [1, 1]], np.float32),
        first=np.zeros(2, np.float32),
        spec=spec((2,), np.float32),
    ),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
def test_labels_are_encoded(case: Good) -> None:
    labels = encoded(case.raw, case.mode, case.class_names)
    np.testing.assert_array_equal(labels.values, case.values)
    assert labels.values.dtype == case.values.dtype
    assert labels.classes == case.classes
    first = np.asarray(labels.at(0))
    np.testing.assert_array_equal(first, case.first)
    assert labels.spec == case.spec == FieldSpec.of(first)
    batch = labels.batch(np.array([1, 0], np.int64))
    np.testing.assert_array_equal(batch, [labels.at(1), labels.at(0)])
    assert FieldSpec.of(batch[0]) == labels.spec


def test_labels_are_read_only_and_the_callers_array_is_not() -> None:
    given = np.array([1, 2, 3], np.int64)
    labels = encoded(given)
    given[0] = 9
    assert labels.values[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        labels.values[0] = 5


@dataclass(frozen=True, kw_only=True)
class Bad:
    id: str
    raw: Any
    mode: LabelMode = "int"
    class_names: tuple[str, ...] | None = None
    says: str


BAD = [
    Bad(
        id="three classes for binary",
        raw=["a", "b", "c"],
        mode="binary",
        says="label_mode='binary' needs exactly 2 classes and the table has 3: ['a', 'b', 'c']; "
        "use label_mode='int' or 'categorical'",
    ),
    Bad(
        id="three names for binary ids",
        raw=[0, 1],
        mode="binary",
        class_names=("a", "b", "c"),
        says="label_mode='binary' needs exactly 2 classes and the table has 3: ['a', 'b', 'c']; "
        "use label_mode='int' or 'categorical'",
    ),
    Bad(
        id="unknown name",
        raw=["cat", "dgo", "emu"],
        class_names=("cat", "dog"),
        says="the table: row 1 has the label 'dgo', which is not in class_names=['cat', 'dog'] (2 samples "
        "have such labels); add it to class_names or leave those samples out",
    ),
    Bad(
        id="id beyond the names",
        raw=[0, 2],
        class_names=("cat", "dog"),
        says="the table: row 1 has the label 2, which is no class id from 0 to 1 (1 samples have such labels); "
        "number the classes from 0 and give class_names one name a class",
    ),
    Bad(
        id="negative id",
        raw=[0, -1],
        mode="categorical",
        says="the table: row 1 has the label -1, which is no class id from 0 to 0 (1 samples have such "
        "labels); number the classes from 0 and give class_names one name a class",
    ),
    Bad(
        id="missing",
        raw=["cat", None, "", float("nan"), " ", None, None],
        says="the table: no label in row 1, row 2, row 3, row 4, row 5 and 1 more; "
        "fill them in, leave those samples out, or pass label=None",
    ),
    Bad(
        id="missing in an array",
        raw=np.array([1.0, np.nan]),
        says="the table: no label in row 1; fill them in, leave those samples out, or pass label=None",
    ),
    Bad(
        id="mixed",
        raw=["cat", "dog", 3],
        says="the table: labels are of different kinds, text in row 0 and int in row 2; "
        "make them all numbers or all text",
    ),
    Bad(
        id="unequal vectors",
        raw=[[1, 2], [3]],
        says="the table: the labels are lists of unequal length; make them equally long",
    ),
    Bad(
        id="objects",
        raw=[{"a": 1}],
        says="the table: row 0 has a label of type dict; labels are whole numbers, fractions, text, "
        "or equally long lists of numbers",
    ),
    Bad(
        id="lists of text",
        raw=[["a"], ["b"]],
        says="the table: some labels are not numbers that fit int64 or float32; correct them",
    ),
    Bad(
        id="infinite",
        raw=[1.0, float("inf")],
        says="the table: some labels are infinite, beyond float32 or no number; correct or leave out those samples",
    ),
    Bad(
        id="beyond float32",
        raw=[1.0, 1e300],
        says="the table: some labels are infinite, beyond float32 or no number; correct or leave out those samples",
    ),
    Bad(
        id="beyond int64",
        raw=[1, 2**70],
        says="the table: some labels are not numbers that fit int64 or float32; correct them",
    ),
    Bad(
        id="fractions as classes",
        raw=[0.5],
        mode="categorical",
        says="the labels of the table are fractions and cannot be classes; "
        "use label_mode='int' (numbers are handed out as they are) without class_names",
    ),
    Bad(
        id="vectors as classes",
        raw=[[1, 0]],
        class_names=("cat", "dog"),
        says="the labels of the table are vectors and cannot be classes; "
        "use label_mode='int' (numbers are handed out as they are) without class_names",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_unusable_labels_are_one_sentence(case: Bad) -> None:
    with pytest.raises(DatasetError) as caught:
        encoded(case.raw, case.mode, case.class_names)
    assert str(caught.value) == case.says


def test_the_error_is_of_the_kind_asked_for() -> None:
    with pytest.raises(ManifestError):
        encode([None], mode="int", class_names=None, place=lambda row: f"{row}", source="m", error=ManifestError)


@pytest.mark.parametrize("mode", ["int", "categorical", "binary", None])
def test_label_modes_are_taken(mode: str | None) -> None:
    assert checked_mode(mode) == mode


def test_another_label_mode_is_refused() -> None:
    with pytest.raises(OptionError, match="label_mode='ints': expected 'int', 'categorical', 'binary' or None"):
        checked_mode("ints")


@pytest.mark.parametrize("names", ["cat", [], ["cat", "cat"], ["cat", ""], ["cat", 1]], ids=repr)
def test_class_names_that_are_no_list_of_distinct_names_are_refused(names: Any) -> None:
    with pytest.raises(OptionError, match="class_names="):
        checked_class_names(names)
