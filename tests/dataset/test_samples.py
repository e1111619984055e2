"""`Dataset`: N samples by id, read only, and its parts."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.dataset.labels import Labels
from aioloader.dataset.samples import Dataset
from aioloader.errors import OptionError
from aioloader.storage.memory import MemoryStore
from aioloader.types import SampleRef

STORE = MemoryStore()


def animals() -> Dataset:
    """Four samples with everything known of them."""
    return Dataset(
        STORE,
        ["cat/1", "cat/2", "dog/1", "shard"],
        labels=Labels(np.array([0, 0, 1, 1], np.int64), ("cat", "dog"), "int", 2),
        sizes=np.array([10, 20, -1, 40], np.int64),
        etags=["a", None, "c", "d"],
        byte_ranges=np.array([[-1, -1], [-1, -1], [-1, -1], [5, 9]], np.int64),
        columns={"width": np.array([1, 2, 3, 4]), "note": ["w", "x", "y", None]},
    )


def test_a_sample_has_all_that_is_known_of_it() -> None:
    data = animals()
    assert len(data) == 4
    assert data[0] == SampleRef(
        index=0, key="cat/1", label=0, size_bytes=10, etag="a", columns={"width": 1, "note": "w"}
    )
    assert data[2].size_bytes is None
    assert data[3] == SampleRef(
        index=3,
        key="shard",
        label=1,
        size_bytes=40,
        etag="d",
        byte_range=(5, 9),
        columns={"width": 4, "note": None},
    )
    assert [sample.index for sample in data] == [0, 1, 2, 3]
    assert data[np.int64(1)].index == 1  # type: ignore[index]  # numpy's whole numbers count too


def test_plain_python_numbers_come_out_of_the_columns() -> None:
    sample = animals()[1]
    assert [type(value) for value in (sample.label, sample.size_bytes, sample.columns["width"])] == [int] * 3


def test_a_bare_list_of_keys_is_a_dataset() -> None:
    data = Dataset(STORE, ["a", "b"])
    assert data[1] == SampleRef(index=1, key="b")
    assert (data.labels, data.classes, data.sizes, data.label_mode, data.label_spec) == (None,) * 5
    assert repr(data) == "Dataset(2 samples, memory:///)"


@pytest.mark.parametrize("index", [-1, 4, 100])
def test_an_id_that_is_not_there_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=rf"sample {index} of 4: ids go from 0 to 3"):
        animals()[index]


def test_the_repr_is_short_and_names_the_place() -> None:
    assert repr(animals()) == "Dataset(4 samples, 2 classes, memory:///)"


def test_a_dataset_cannot_be_changed() -> None:
    data = animals()
    for array in (data.labels, data.sizes):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    assert isinstance(data.keys, tuple)
    with pytest.raises(TypeError):
        data.columns["note"] = []  # type: ignore[index]  # that it is refused is the point


def test_a_subset_keeps_order_classes_and_everything_known() -> None:
    part = animals().subset([3, 0])
    assert part.keys == ("shard", "cat/1")
    assert part.classes == ("cat", "dog")
    assert part[0].byte_range == (5, 9)
    assert part[0].index == 0
    assert part[1].columns == {"width": 1, "note": "w"}
    assert [sample.size_bytes for sample in part] == [40, 10]
    assert [sample.etag for sample in part] == ["d", "a"]
    assert animals().subset([]).keys == ()
    assert animals().subset([1, 1]).keys == ("cat/2", "cat/2")


@pytest.mark.parametrize("index", [-1, 4])
def test_a_subset_of_ids_that_are_not_there_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"sample {index} of 4"):
        animals().subset([0, index])


@pytest.mark.parametrize("indices", [[0.5], [[0]], [True, False]], ids=repr)
def test_a_subset_by_other_than_whole_numbers_is_refused(indices: Any) -> None:
    with pytest.raises(OptionError, match="indices="):
        animals().subset(indices)


def test_keys_and_ids_can_be_left_out() -> None:
    data = animals()
    assert data.without(["cat/1", 2, "not there"]).keys == ("cat/2", "shard")
    assert data.without([]).keys == data.keys
    with pytest.raises(IndexError, match="sample 4 of 4"):
        data.without([4])
    with pytest.raises(OptionError, match="skip='cat/1': expected a list of keys or ids"):
        data.without("cat/1")


@given(st.integers(0, 50), st.lists(st.floats(0.05, 0.3), min_size=1, max_size=3), st.integers())
def test_the_parts_of_a_split_are_disjoint_and_keep_the_order(count: int, fractions: list[float], seed: int) -> None:
    data = Dataset(STORE, [f"{number:03}" for number in range(count)])
    parts = data.split(*fractions, seed=seed)
    assert len(parts) == len(fractions)
    keys = [key for part in parts for key in part.keys]
    assert len(set(keys)) == len(keys)
    assert all(list(part.keys) == sorted(part.keys) for part in parts)
    assert set(keys) <= set(data.keys)


def test_a_split_into_everything_is_a_partition() -> None:
    data = Dataset(STORE, [f"{number}" for number in range(1000)])
    train, val = data.split(0.9, 0.1)
    assert sorted(train.keys + val.keys) == sorted(data.keys)
    assert 50 < len(val) < 150
    assert data.split(1.0)[0].keys == data.keys


def test_the_fingerprint_says_what_it_is_made_of() -> None:
    data = animals()
    assert data.fingerprint == animals().fingerprint
    assert data.fingerprint != data.subset([0, 1, 2]).fingerprint
    assert data.fingerprint_parts["location"] == "memory:///"
    assert data.fingerprint_parts["samples"] == "4"


def test_a_dataset_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(animals()))
    assert list(again) == list(animals())
    assert again.fingerprint == animals().fingerprint
