"""`image_folder`: class = folder, in the same order on every store; every wrong folder is one sentence."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.dataset.image_folder import image_folder
from aioloader.errors import DatasetError, EmptyDatasetError, ObjectNotFoundError, OptionError
from aioloader.storage.memory import MemoryStore
from aioloader.types import ObjectMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    Serve: TypeAlias = Callable[[Mapping[str, bytes]], Awaitable[str]]


def stored(*keys: str) -> MemoryStore:
    return MemoryStore({key: b"x" * length for length, key in enumerate(keys)})


class ListedStore(MemoryStore):
    """A store that lists what it is told, in that order."""

    def __init__(self, *listing: ObjectMeta) -> None:
        super().__init__()
        self.listing = listing

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        for meta in self.listing:
            yield meta


PETS = (
    "dog/1.jpg",
    "cat/deep/er/2.PNG",
    "cat/1.jpeg",
    "dog/notes.txt",
    ".hidden/1.jpg",
    "cat/._1.jpg",
    "top.md",
)


def test_the_first_folder_is_the_class(tree: Callable[..., Path]) -> None:
    root = tree(*PETS)
    data = image_folder(root)
    assert data.keys == ("cat/1.jpeg", "cat/deep/er/2.PNG", "dog/1.jpg")
    assert data.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.sizes is not None
    assert data.sizes.tolist() == [2, 1, 0]
    assert data.label_mode == "int"
    assert repr(data) == f"Dataset(3 samples, 2 classes, file://{root}/)"


def test_samples_are_in_the_order_of_their_bytes(tree: Callable[..., Path]) -> None:
    names = ["a/\udcff.jpg", "a/\U0001f408.jpg", "a/\uffee.jpg", "a/ü.jpg", "a/z.jpg"]
    expected = ("a/z.jpg", "a/ü.jpg", "a/\uffee.jpg", "a/\U0001f408.jpg", "a/\udcff.jpg")
    assert image_folder(tree(*names)).keys == expected
    assert image_folder("", store=stored(*names)).keys == expected


def test_a_path_a_url_and_a_store_give_the_same_samples(tree: Callable[..., Path]) -> None:
    root = tree(*PETS)
    listings = [
        image_folder(str(root)),
        image_folder(root.as_uri()),
        image_folder("", store=stored(*PETS)),
        image_folder("a b/ü", store=stored(*(f"a b/ü/{key}" for key in PETS))),
    ]
    assert {data.keys for data in listings} == {image_folder(root).keys}
    assert {tuple(data.sizes.tolist()) for data in listings if data.sizes is not None} == {(2, 1, 0)}


async def test_a_web_server_with_an_index_gives_the_same_samples(serve: Serve, tree: Callable[..., Path]) -> None:
    keys = [*PETS, "cat/ü 100% #1?.jpg", "cat/日本.gif"]
    index = "".join(json.dumps({"key": key}) + "\n" for key in reversed(keys))
    url = await serve({"train/index.jsonl": index.encode()})
    data = await asyncio.to_thread(image_folder, url + "train/")
    assert data.keys == (await asyncio.to_thread(image_folder, tree(*keys))).keys
    assert data.sizes is None
    assert data[0].size_bytes is None
    sized = "".join(json.dumps({"key": key, "size": 5, "etag": "e"}) + "\n" for key in keys)
    data = await asyncio.to_thread(image_folder, await serve({"index.jsonl": sized.encode()}))
    assert (data[0].size_bytes, data[0].etag) == (5, "e")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, min_size=1))
def test_samples_are_in_the_byte_order_of_their_keys(names: list[str]) -> None:
    keys = [f"c/x{name}.jpg" for name in names if "/." not in f"{name}."]
    data = image_folder("", store=stored("c/x.jpg", *(key for key in keys if key != "c/x.jpg")))
    assert list(data.keys) == sorted(data.keys, key=lambda key: key.encode())
    assert set(keys) <= set(data.keys)


def test_class_names_set_the_order_and_may_name_an_empty_class() -> None:
    data = image_folder("", store=stored("a/1.jpg", "b/1.jpg"), class_names=["b", "none", "a"])
    assert data.classes == ("b", "none", "a")
    assert [sample.label for sample in data] == [2, 0]


@pytest.mark.parametrize(
    ("mode", "label"),
    [("int", 1), ("categorical", np.array([0, 1], np.float32)), ("binary", np.array([1], np.float32))],
)
def test_the_label_mode_shapes_labels(mode: Any, label: Any) -> None:
    sample = image_folder("", store=stored("a/1.jpg", "b/1.jpg"), label_mode=mode)[1]
    np.testing.assert_array_equal(sample.label, label)
    assert np.asarray(sample.label).dtype == np.asarray(label).dtype


def test_without_labels_folders_do_not_matter() -> None:
    data = image_folder("", store=stored("1.jpg", "b/1.jpg"), label_mode=None)
    assert data.keys == ("1.jpg", "b/1.jpg")
    assert (data.labels, data.classes, data[0].label) == (None, None, None)


@pytest.mark.parametrize("rule", [r"_(\w+)\.jpg$", r"^(?P<number>\d)_(?P<label>\w+)"], ids=["one group", "named"])
def test_a_regular_expression_labels_by_key(rule: str) -> None:
    data = image_folder("", store=stored("2_cat.jpg", "1_dog.jpg"), label=rule)
    assert [(sample.key, sample.label) for sample in data] == [("1_dog.jpg", 1), ("2_cat.jpg", 0)]
    assert data.classes == ("cat", "dog")


def test_a_callable_labels_by_key() -> None:
    store = stored("a/3.jpg", "a/14.jpg")
    numbers = image_folder("", store=store, label=lambda key: int(key[2:-4]))
    assert [sample.label for sample in numbers] == [14, 3]
    assert numbers.classes is None
    fractions = image_folder("", store=store, label=lambda key: int(key[2:-4]) / 4)
    assert fractions.labels is not None
    assert fractions.labels.dtype == np.float32
    names = image_folder("", store=store, label=lambda key: key[2])
    assert names.classes == ("1", "3")


def test_excluded_keys_and_other_extensions_are_not_seen() -> None:
    store = stored("a/1.jpg", "a/bad/2.jpg", "b/1.npy", "c[1]/1.jpg")
    assert image_folder("", store=store, exclude="*/bad/*").keys == ("a/1.jpg", "c[1]/1.jpg")
    assert image_folder("", store=store, exclude=["c[[]*", "a/1*"]).keys == ("a/bad/2.jpg",)
    assert image_folder("", store=store, extensions=".NPY").keys == ("b/1.npy",)


@dataclass(frozen=True, kw_only=True)
class Bad:
    id: str
    keys: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    error: type[Exception] = DatasetError
    says: str


def refuse(key: str) -> str:
    raise KeyError(key)


EXTENSIONS = ".jpg, .jpeg, .png, .webp, .gif, .bmp, .tif, .tiff"

BAD = [
    Bad(
        id="nothing at all",
        keys=(),
        error=EmptyDatasetError,
        says=f"no images under memory:///: looked for names ending in {EXTENSIONS}, "
        "found nothing at all; check the address",
    ),
    Bad(
        id="other things",
        keys=("b.bin", "a.bin", ".x/1.jpg"),
        error=EmptyDatasetError,
        says=f"no images under memory:///: looked for names ending in {EXTENSIONS}, found 2 objects with other "
        "names (the first is 'a.bin'; pass extensions= if these are images), "
        "1 hidden objects (a part of the name starts with a dot)",
    ),
    Bad(
        id="all excluded",
        keys=("a/1.jpg",),
        options={"exclude": "*", "extensions": ".jpg"},
        error=EmptyDatasetError,
        says="no images under memory:///: looked for names ending in .jpg, found 1 images that exclude= leaves out",
    ),
    Bad(
        id="images without a folder",
        keys=("a/1.jpg", "z.jpg", "y.jpg"),
        says="2 images lie directly in memory:///, in no class folder (the first is 'y.jpg'); move them into "
        "folders, pass label= to label by name, exclude= to leave them out, or label_mode=None for no labels",
    ),
    Bad(
        id="a folder that class_names lacks",
        keys=("cat/1.jpg", "d[o]g/1.jpg", "d[o]g/2.jpg", "emu/1.jpg"),
        options={"class_names": ["cat"]},
        says="the folder 'd[o]g' (2 images) and 1 other folders under memory:/// is not in class_names; "
        "add it, or leave it out with exclude='d[[]o]g/*'",
    ),
    Bad(
        id="three classes for binary",
        keys=("a/1.jpg", "b/1.jpg", "c/1.jpg"),
        options={"label_mode": "binary"},
        says="label_mode='binary' needs exactly 2 classes and memory:/// has 3: ['a', 'b', 'c']; "
        "use label_mode='int' or 'categorical'",
    ),
    Bad(
        id="keys the expression does not match",
        keys=("a_1.jpg", "b.jpg", "c.jpg"),
        options={"label": r"_(\d)"},
        says=r"label='_(\\d)' finds no label in 2 of 3 keys under memory:/// (the first is 'b.jpg'); "
        "correct it, or leave those out with exclude=",
    ),
    Bad(
        id="a callable that raises",
        keys=("a.jpg",),
        options={"label": refuse},
        says="label= raised KeyError for 'a.jpg' under memory:///; "
        "it gets a relative key and returns text, an int or a float",
    ),
    Bad(
        id="a callable that returns nothing",
        keys=("a.jpg", "b.jpg"),
        options={"label": lambda key: 1 if key == "a.jpg" else None},
        says="memory:///: no label in 'b.jpg'; fill them in, leave those samples out, or pass label=None",
    ),
    Bad(
        id="an unknown mode",
        keys=("a/1.jpg",),
        options={"label_mode": "one-hot"},
        error=OptionError,
        says="label_mode='one-hot': expected 'int', 'categorical', 'binary' or None",
    ),
    Bad(
        id="a label without labels",
        keys=("a/1.jpg",),
        options={"label_mode": None, "label": "(.)"},
        error=OptionError,
        says="label='(.)': expected None where label_mode is None: then there are no labels",
    ),
    Bad(
        id="class names without labels",
        keys=("a/1.jpg",),
        options={"label_mode": None, "class_names": ["a"]},
        error=OptionError,
        says="class_names=('a',): expected None where label_mode is None: then there are no labels",
    ),
    Bad(
        id="a broken expression",
        keys=("a/1.jpg",),
        options={"label": "("},
        error=OptionError,
        says="label='(': expected a regular expression; this one fails: missing ), unterminated subpattern "
        "at position 0",
    ),
    Bad(
        id="two groups",
        keys=("a/1.jpg",),
        options={"label": "(.)(.)"},
        error=OptionError,
        says="label='(.)(.)': expected exactly one group (...), or one named (?P<label>...)",
    ),
    Bad(
        id="a label of another kind",
        keys=("a/1.jpg",),
        options={"label": 3},
        error=OptionError,
        says="label=3: expected a callable, a regular expression, or None for the folder",
    ),
    Bad(
        id="no extension",
        keys=("a/1.jpg",),
        options={"extensions": ("jpg",)},
        error=OptionError,
        says="extensions=('jpg',): expected endings with their dot, such as ('.jpg', '.png')",
    ),
    Bad(
        id="an empty glob",
        keys=("a/1.jpg",),
        options={"exclude": [""]},
        error=OptionError,
        says="exclude=['']: expected glob patterns for relative keys, such as 'broken/*'",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_what_cannot_work_is_one_sentence(case: Bad) -> None:
    with pytest.raises(case.error) as caught:
        image_folder("", store=stored(*case.keys), **case.options)
    assert str(caught.value) == case.says


def test_the_callables_own_error_is_the_cause() -> None:
    with pytest.raises(DatasetError) as caught:
        image_folder("", store=stored("a.jpg"), label=refuse)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_key_listed_twice_is_refused() -> None:
    store = ListedStore(*(ObjectMeta(key=key) for key in ("a/2.jpg", "a/1.jpg", "a/2.jpg", "a/2.jpg")))
    says = "the listing of memory:/// names 'a/2.jpg' more than once (2 repeats in all)"
    with pytest.raises(DatasetError, match=re.escape(says)):
        image_folder("", store=store)


def test_sizes_that_are_partly_known_are_kept() -> None:
    store = ListedStore(ObjectMeta(key="a/2.jpg", etag="e"), ObjectMeta(key="a/1.jpg", size_bytes=0))
    data = image_folder("", store=store)
    assert [(sample.size_bytes, sample.etag) for sample in data] == [(0, None), (None, "e")]


def test_a_missing_folder_is_the_stores_error(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="nowhere"):
        image_folder(tmp_path / "nowhere")


async def test_a_signed_prefix_is_in_no_error_and_no_repr(serve: Serve) -> None:
    index = json.dumps({"key": "1.jpg"}).encode()
    url = (await serve({"train/index.jsonl": index})) + "train/?token=SECRET"
    with pytest.raises(DatasetError) as caught:
        await asyncio.to_thread(image_folder, url)
    data = await asyncio.to_thread(lambda: image_folder(url, label_mode=None))
    for text in (str(caught.value), repr(data), json.dumps(data.fingerprint_parts)):
        assert "/train/" in text
        assert "SECRET" not in text


def test_who_waits_for_a_long_listing_is_told_how_far_it_is() -> None:
    listing = [ObjectMeta(key=f"cat/{number:05d}.jpg") for number in range(2500)]
    told: list[int] = []
    data = image_folder("", store=ListedStore(*listing), on_listed=told.append)
    assert len(data) == 2500
    assert told == [1000, 2000, 2500]
