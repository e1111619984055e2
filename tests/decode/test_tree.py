"""Trees of arrays: paths, rebuilding, specs, and what does not fit."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.errors import DecodeError, ShapeMismatchError
from aioloader.tree import as_fields, check_fits, flatten, spec_of, unflatten
from aioloader.types import FieldSpec

trees = st.recursive(
    st.integers(),
    lambda branches: (
        st.lists(branches, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), branches, max_size=4)
    ),
    max_leaves=12,
)

UINT8 = np.dtype("uint8")


@given(tree=trees)
def test_flatten_and_unflatten_are_inverse(tree: Any) -> None:
    assert unflatten(tree, [leaf for _, leaf in flatten(tree)]) == tree
    numbers = list(range(len(flatten(tree))))
    assert [leaf for _, leaf in flatten(unflatten(tree, numbers))] == numbers


@given(tree=trees)
def test_paths_are_unique_and_the_same_every_time(tree: Any) -> None:
    paths = [path for path, _ in flatten(tree)]
    assert len(set(paths)) == len(paths)
    assert paths == [path for path, _ in flatten(unflatten(tree, paths))]


@given(tree=trees, change=st.sampled_from([-1, 1]))
def test_a_wrong_number_of_leaves_is_refused(tree: Any, change: int) -> None:
    count = len(flatten(tree)) + change
    if count >= 0:
        with pytest.raises(ValueError, match="leaves than"):
            unflatten(tree, range(count))


@given(tree=trees)
def test_a_tree_fits_its_own_spec(tree: Any) -> None:
    bounded = unflatten(tree, [np.full(2, index, np.int64) for index in range(len(flatten(tree)))])
    if not flatten(bounded):
        with pytest.raises(DecodeError, match="empty"):
            spec_of(bounded)
        return
    spec = spec_of(bounded)
    arrays = check_fits(spec, reordered(bounded), first_key="a", key="b")
    assert [array[0] for array in arrays] == list(range(len(arrays)))


def reordered(tree: Any) -> Any:
    """The same tree with every dict's keys the other way round."""
    if isinstance(tree, dict):
        return {name: reordered(branch) for name, branch in reversed(tree.items())}
    if isinstance(tree, tuple):
        return tuple(reordered(branch) for branch in tree)
    return tree


def test_paths_read_like_python() -> None:
    tree = ({"image": 1, "a b": 2, 3: 4}, (5, 6), 7)
    assert flatten(tree) == [
        ("x.image", 1),
        ("x['a b']", 2),
        ("x[3]", 4),
        ("y[0]", 5),
        ("y[1]", 6),
        ("sample_weight", 7),
    ]
    assert flatten(8) == [("x", 8)]
    assert flatten({"a": 9}) == [("x.a", 9)]


def test_dicts_keep_the_order_they_were_written_in() -> None:
    assert [path for path, _ in flatten({"z": 1, "a": 2})] == ["x.z", "x.a"]


def test_as_fields_makes_the_tuple_and_refuses_others() -> None:
    assert as_fields(1) == (1,)
    assert as_fields((1,)) == (1,)
    assert as_fields((1, 2, 3)) == (1, 2, 3)
    for wrong in ((), (1, 2, 3, 4)):
        with pytest.raises(DecodeError, match=f"tuple of {len(wrong)}") as caught:
            as_fields(wrong, key="k")
        assert caught.value.key == "k"


@dataclass(frozen=True)
class Leaf:
    id: str
    value: Any
    shape: tuple[int, ...]
    dtype: str


@pytest.mark.parametrize(
    "leaf",
    [
        Leaf("int", 3, (), "int64"),
        Leaf("float", 3.0, (), "float64"),
        Leaf("bool", True, (), "bool"),
        Leaf("numpy scalar", np.float32(1), (), "float32"),
        Leaf("list", [1, 2, 3], (3,), "int64"),
        Leaf("big-endian", np.zeros((2, 2), ">f4"), (2, 2), "float32"),
        Leaf("complex", np.zeros(2, "complex64"), (2,), "complex64"),
    ],
    ids=lambda leaf: leaf.id,
)
def test_specs_read_leaves_as_numpy_does(leaf: Leaf) -> None:
    spec = spec_of((leaf.value, leaf.value))
    assert spec == (FieldSpec(leaf.shape, np.dtype(leaf.dtype)),) * 2
    assert all(field.dtype.isnative for field in spec)
    assert len(check_fits(spec, (leaf.value, leaf.value))) == 2


async def forgotten() -> None: ...


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("cat", "returned str for y.*map strings to ids"),
        (b"cat", "returned bytes for y.*map strings to ids"),
        (None, "returned None for y.*`return` missing"),
        (np.array(["cat"]), "dtype <U3 for y.*map strings to ids"),
        (["cat", "dog"], "dtype <U3 for y"),
        (np.array([{}]), "dtype object for y"),
        (object(), "returned object for y"),
        ({1, 2}, "returned set for y"),
        (datetime.datetime(2020, 1, 1), "returned datetime for y"),
        (np.array(["2020"], "M8[D]"), r"datetime64\[D\] for y"),
        (np.zeros(2, "i4,f4"), "for y"),
        ([[1, 2], [3]], "list .* for y is no array"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_no_batch_can_hold_is_refused_with_the_next_step(value: Any, says: str) -> None:
    with pytest.raises(DecodeError, match=says) as caught:
        spec_of((np.zeros(1), value), key="train/7")
    assert caught.value.key == "train/7"
    with pytest.raises(DecodeError, match=says):
        check_fits((spec_of(np.zeros(1)), spec_of(0)), (np.zeros(1), value), key="train/7", first_key="f")


def test_a_coroutine_is_named_as_such() -> None:
    coroutine = forgotten()
    with pytest.raises(DecodeError, match="returned coroutine for x"):
        spec_of(coroutine)
    coroutine.close()


@dataclass(frozen=True)
class Misfit:
    id: str
    first: Any
    other: Any
    says: str


IMAGE = np.zeros((30, 40, 3), np.uint8)


@pytest.mark.parametrize(
    "case",
    [
        Misfit("shape", IMAGE, IMAGE[:9], r"x is uint8\[9, 40, 3\].*uint8\[30, 40, 3\].*ImageDecoder\(size="),
        Misfit("dtype", (IMAGE, 1), (IMAGE, 1.5), r"y is float64\[\].*int64\[\].*astype\('int64'\)"),
        Misfit("scalar", (IMAGE, 1), (IMAGE, [1]), r"y is int64\[1\].*int64\[\]"),
        Misfit("no label", (IMAGE, 1), IMAGE, r"has the fields x, but .* x, y\."),
        Misfit("more labels", (IMAGE, 1), (IMAGE, 1, 1), r"fields x, y, sample_weight, but .* x, y\."),
        Misfit("key", {"a": 1, "b": 2}, {"a": 1, "c": 2}, r"fields x.a, x.c, but .* x.a, x.b"),
        Misfit("less keys", ({"a": 1, "b": 2}, 0), ({"a": 1}, 0), r"fields x.a, y, but .* x.a, x.b"),
        Misfit("branch", {"a": 1}, {"a": {"b": 1}}, r"fields x.a.b, but .* x.a"),
        Misfit("leaf", {"a": (1, 2)}, {"a": 1}, r"fields x.a, but .* x.a\[0\], x.a\[1\]"),
        Misfit("empty", IMAGE, {}, "an empty dict"),
    ],
    ids=lambda case: case.id,
)
def test_a_misfit_names_both_samples_and_the_remedy(case: Misfit) -> None:
    spec = spec_of(case.first, key="first.jpg")
    with pytest.raises(ShapeMismatchError, match=case.says) as caught:
        check_fits(spec, case.other, key="other.jpg", first_key="first.jpg")
    assert str(caught.value).startswith("other.jpg: decode failed: ")
    assert "the first sample (first.jpg) set" in str(caught.value)
    assert caught.value.hint
    with pytest.raises(ShapeMismatchError, match="its spec declares"):
        check_fits(spec, case.other, key="other.jpg")


def test_the_arrays_come_back_without_a_copy() -> None:
    spec = {"a": FieldSpec((2,), UINT8), "b": FieldSpec((), np.dtype("float64"))}
    a = np.zeros(2, np.uint8)
    first, second = check_fits(spec, {"b": 1.5, "a": a})
    assert first is a
    assert second == 1.5
    assert check_fits(spec["a"], a)[0] is a
