"""Parts by hashed key partition and stay put; fingerprints change when, and only when, something did."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.dataset.identity import assign_parts, fingerprint, fingerprint_parts
from aioloader.dataset.labels import Labels
from aioloader.errors import OptionError
from aioloader.storage.stable_key import stable_key

KEYS = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=60)
FRACTIONS = st.lists(st.floats(0.01, 1), min_size=1, max_size=4).map(
    lambda weights: [weight / sum(weights) for weight in weights]
)


@given(keys=KEYS, fractions=FRACTIONS, seed=st.integers())
def test_fractions_that_sum_to_one_give_every_key_one_part(keys: list[str], fractions: list[float], seed: int) -> None:
    parts = assign_parts(keys, None, fractions, seed)
    assert parts.shape == (len(keys),)
    assert all(0 <= part < len(fractions) for part in parts)


@given(keys=KEYS, added=KEYS, fractions=FRACTIONS, seed=st.integers(), data=st.data())
def test_added_and_moved_keys_change_no_other_keys_part(
    keys: list[str], added: list[str], fractions: list[float], seed: int, data: st.DataObject
) -> None:
    before = dict(zip(keys, assign_parts(keys, None, fractions, seed).tolist(), strict=True))
    more = data.draw(st.permutations([*keys, *(key for key in added if key not in before)]))
    after = dict(zip(more, assign_parts(more, None, fractions, seed).tolist(), strict=True))
    assert {key: after[key] for key in keys} == before


def test_parts_are_near_their_fractions() -> None:
    keys = [f"train/{number:06}.jpg" for number in range(20_000)]
    parts = assign_parts(keys, None, [0.7, 0.2], seed=0)
    shares = [float((parts == part).mean()) for part in (0, 1, -1)]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.015)  # five standard deviations


def test_parts_are_the_same_on_every_machine_and_release() -> None:
    keys = ["a", "b", "ü/1 2%.jpg", "日本", "e", "f", "g", "h", "i", "j", "k", "l"]
    assert assign_parts(keys, None, [0.4, 0.4], seed=0).tolist() == [0, 0, 0, 1, 0, 0, 1, -1, 1, 0, -1, 0]


def test_another_seed_gives_other_parts() -> None:
    keys = [str(number) for number in range(200)]
    parts = [assign_parts(keys, None, [0.5, 0.5], seed=seed).tolist() for seed in (0, 1, -1)]
    assert parts[0] != parts[1] != parts[2] != parts[0]


def test_byte_ranges_of_one_object_are_samples_of_their_own() -> None:
    ranges = np.array([[start, start + 10] for start in range(0, 2000, 10)], np.int64)
    parts = assign_parts(["shard.tar"] * 200, ranges, [0.5, 0.5], seed=0)
    assert 50 < int(parts.sum()) < 150


def test_a_url_signed_anew_stays_in_its_part() -> None:
    first = "https://b.example/a.jpg?X-Amz-Date=1&X-Amz-Signature=aa"
    second = "https://b.example/a.jpg?X-Amz-Date=2&X-Amz-Signature=bb"
    assert stable_key(first) == stable_key(second) == "https://b.example/a.jpg"
    assert stable_key("https://b.example/a?id=5") == "https://b.example/a?id=5"
    assert stable_key("a?signature=1") == "a?signature=1"  # a name, not a URL


@pytest.mark.parametrize(
    ("key", "stays"),
    [
        ("http://h/get?id=7&sig=a&se=1&SP=r", "http://h/get?id=7"),
        ("http://h/get?X-Goog-Signature=a&X-Goog-Date=1&id=7&versionId=2", "http://h/get?id=7&versionId=2"),
        ("http://h/a?Expires=1&Signature=b&Key-Pair-Id=c", "http://h/a"),
        ("http://h/get?id=7&access_token=x", "http://h/get?id=7"),
        ("http://h/get?st=7&policy=2", "http://h/get?st=7&policy=2"),  # nothing is signed: these may be ids
    ],
)
def test_only_what_signing_anew_changes_is_left_out_of_a_key(key: str, stays: str) -> None:
    assert stable_key(key) == stays


def test_signed_urls_that_differ_in_their_query_are_different_samples() -> None:
    keys = [f"http://h/get?id={number}&sig={number}" for number in range(200)]
    assert 50 < int(assign_parts(keys, None, [0.5, 0.5], seed=0).sum()) < 150
    assert parts_of(keys=keys[:2])["keys"] != parts_of(keys=keys[2:4])["keys"]


@pytest.mark.parametrize(
    "fractions",
    [(), (0.5, 0.6), (0.0, 1.0), (-0.1,), (1.1,), (float("nan"),), (True,), ("0.5",)],
    ids=repr,
)
def test_fractions_that_make_no_parts_are_refused(fractions: Any) -> None:
    with pytest.raises(OptionError, match="fractions="):
        assign_parts(["a"], None, fractions, seed=0)


@pytest.mark.parametrize("seed", [None, 1.5, "1", True], ids=repr)
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(OptionError, match="seed="):
        assign_parts(["a"], None, [1.0], seed=seed)


def parts_of(**changes: Any) -> dict[str, str]:
    known: dict[str, Any] = {
        "location": "http://h/",
        "keys": ["a/1.jpg", "b/2.jpg"],
        "labels": Labels(np.array([0, 1], np.int64), ("a", "b"), "int", 2),
        "sizes": np.array([3, -1], np.int64),
        "etags": ["x", None],
        "byte_ranges": np.array([[0, 3], [-1, -1]], np.int64),
    } | changes
    return fingerprint_parts(known.pop("location"), known.pop("keys"), **known)


CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "location": ({"location": "http://other/"}, {"location"}),
    "a key": ({"keys": ["a/1.jpg", "b/3.jpg"]}, {"keys"}),
    "the order": ({"keys": ["b/2.jpg", "a/1.jpg"]}, {"keys"}),
    "where a key ends": ({"keys": ["a/1.jpg\0", "b/2.jpg"]}, {"keys"}),
    "one sample more": ({"keys": ["a/1.jpg", "b/2.jpg", "c"]}, {"keys", "samples"}),
    "a label": ({"labels": Labels(np.array([1, 1], np.int64), ("a", "b"), "int", 2)}, {"labels"}),
    "the label mode": (
        {"labels": Labels(np.array([0, 1], np.int64), ("a", "b"), "binary", 2)},
        {"labels"},
    ),
    "a class name": ({"labels": Labels(np.array([0, 1], np.int64), ("a", "c"), "int", 2)}, {"classes"}),
    "no labels": ({"labels": None}, {"labels", "classes"}),
    "a size": ({"sizes": np.array([4, -1], np.int64)}, {"sizes"}),
    "sizes unknown": ({"sizes": None}, {"sizes"}),
    "an etag": ({"etags": ["y", None]}, {"etags"}),
    "a byte range": ({"byte_ranges": np.array([[0, 4], [-1, -1]], np.int64)}, {"byte_ranges"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_part_that_changed_is_named_and_no_other(change: str) -> None:
    changes, expected = CHANGES[change]
    before, after = parts_of(), parts_of(**changes)
    assert {name for name in before if before[name] != after[name]} == expected
    assert fingerprint(before) != fingerprint(after)


@given(st.lists(st.text(max_size=5), max_size=5), st.lists(st.text(max_size=5), max_size=5))
def test_different_keys_have_different_digests(one: list[str], other: list[str]) -> None:
    empty: dict[str, Any] = dict.fromkeys(("labels", "sizes", "etags", "byte_ranges"))
    same = fingerprint_parts("l", one, **empty)["keys"] == fingerprint_parts("l", other, **empty)["keys"]
    assert same == (one == other)


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    script = (
        "import numpy as np\n"
        "from aioloader.dataset.identity import fingerprint, fingerprint_parts\n"
        "print(fingerprint(fingerprint_parts('l', ['ü', 'b'], labels=None, sizes=np.array([1, 2]),"
        " etags=['x', None], byte_ranges=None)))"
    )
    fingerprints = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(fingerprints) == 1
    assert len(fingerprints.pop().strip()) == 32
