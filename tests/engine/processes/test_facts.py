"""Errors and fields go out as JSON and come back as what they were."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader import errors
from aioloader.engine.processes.facts import (
    pack_breakdown,
    pack_error,
    pack_spec,
    unpack_breakdown,
    unpack_error,
    unpack_spec,
)
from aioloader.errors import DatasetError, DecodeError, InvariantError, OptionError, RemoteError, SampleError
from aioloader.types import FieldSpec, SampleRef, Tree

SAMPLE_ERRORS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SampleError)),
    key=lambda kind: kind.__name__,
)
TEXT = st.text(max_size=20)


def sent(facts: Any) -> Any:
    """As the other side reads it."""
    return json.loads(json.dumps(facts))


@given(
    kind=st.sampled_from(SAMPLE_ERRORS),
    texts=st.tuples(TEXT, TEXT, TEXT),
    byte_range=st.none() | st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)),
    attempts=st.integers(1, 9),
    stage=st.sampled_from(["", "fetch", "decode", "transform"]),
    sample_id=st.none() | st.integers(0, 2**60),
    notes=st.lists(TEXT, max_size=2),
)
def test_every_sample_error_comes_back_as_its_class_with_its_fields(
    kind: type[SampleError],
    texts: tuple[str, str, str],
    byte_range: tuple[int, int] | None,
    attempts: int,
    stage: str,
    sample_id: int | None,
    notes: list[str],
) -> None:
    error = kind(*texts, byte_range, attempts, stage, sample_id)
    for note in notes:
        error.add_note(note)
    found = unpack_error(sent(pack_error(error, None)))
    assert type(found) is kind
    assert vars(found) == vars(error)
    assert str(found) == str(error)
    assert found.args == error.args
    assert found.__cause__ is None


def test_there_are_sample_errors_to_send() -> None:
    assert {"DecodeError", "ObjectNotFoundError", "TransformError", "WorkerDiedError"} <= {
        kind.__name__ for kind in SAMPLE_ERRORS
    }


def test_a_cause_comes_back_as_its_traceback_without_the_samples_secret() -> None:
    key = "https://host/a.png?X-Amz-Signature=hunter2"
    sample = SampleRef(index=4, key=key)
    try:
        try:
            raise KeyError(f"no such thing in {key}")
        except KeyError as exc:
            raise DecodeError("it is broken", "a.png", sample_id=4) from exc
    except DecodeError as exc:
        facts = sent(pack_error(exc, sample))
    assert "hunter2" not in json.dumps(facts)
    cause = unpack_error(facts).__cause__
    assert isinstance(cause, RemoteError)
    assert "Traceback (most recent call last)" in str(cause)
    assert "KeyError" in str(cause)
    assert "X-Amz-Signature=" in str(cause)


@pytest.mark.parametrize(
    "name", ["SystemExit", "OptionError", "AioloaderError", "annotations", "Self", "__builtins__", "", "os.system"]
)
def test_a_child_can_name_no_other_class_than_a_sample_error(name: str) -> None:
    facts = sent(pack_error(DecodeError("it is broken"), None)) | {"class": name}
    assert type(unpack_error(facts)) is DecodeError


@pytest.mark.parametrize(
    "error",
    [
        OptionError("size", "3", "4"),
        DatasetError("the shard is gone"),
        InvariantError("it did not add up"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_ends_a_stream_comes_back_as_its_class(error: errors.AioloaderError) -> None:
    found = unpack_breakdown(sent(pack_breakdown(error)))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert isinstance(found.__cause__, RemoteError)
    assert str(error) in str(found.__cause__)


def test_anything_else_that_ends_a_stream_is_our_defect() -> None:
    assert type(unpack_breakdown(sent(pack_breakdown(ZeroDivisionError("by zero"))))) is InvariantError
    assert type(unpack_breakdown({"class": "OptionError", "fields": ["one"], "cause": ""})) is InvariantError


DTYPES = st.sampled_from(["u1", "<i8", ">f4", "?", "<f2", "<c16", "<u2"])
LEAVES = st.builds(
    FieldSpec, st.lists(st.integers(0, 9), max_size=3).map(tuple), DTYPES.map(lambda name: np.dtype(name))
)
TREES = st.recursive(
    LEAVES,
    lambda branch: (
        st.lists(branch, min_size=1, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(-3, 3), branch, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


@given(tree=TREES)
def test_every_tree_of_fields_comes_back_with_its_order_and_names(tree: Tree) -> None:
    found = unpack_spec(sent(pack_spec(tree)))
    assert found == tree
    assert repr(found) == repr(tree)  # the order of a dict's fields, and 1 is no "1"


def test_small_floats_of_ml_dtypes_come_back() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e4m3fn"):
        spec = FieldSpec((2,), np.dtype(getattr(ml_dtypes, name)))
        assert unpack_spec(sent(pack_spec(spec))) == spec


@pytest.mark.parametrize("name", [1.5, None, (1, 2), True])
def test_a_dict_with_names_that_json_would_change_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="a field is named"):
        pack_spec({name: FieldSpec((1,), np.dtype("u1"))})
