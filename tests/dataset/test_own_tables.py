"""`from_dataframe` and `from_samples`: the caller's own tables and lists."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

from aioloader.dataset.dataframe import from_dataframe
from aioloader.dataset.listed import from_samples
from aioloader.errors import DatasetError, EmptyDatasetError, ManifestError, OptionError
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.memory import MemoryStore
from aioloader.types import SampleRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Serve: TypeAlias = Callable[[Mapping[str, bytes]], Awaitable[str]]

STORE = MemoryStore()

COLUMNS: dict[str, list[Any]] = {
    "path": ["b.jpg", "a.jpg", "c.jpg"],
    "kind": ["dog", "cat", "dog"],
    "width": [3, 4, 5],
    "when": [0.5, 1.5, 2.5],
}


@pytest.mark.parametrize(
    "df",
    [
        COLUMNS,
        {name: np.array(cells) for name, cells in COLUMNS.items()},
        {name: tuple(cells) for name, cells in COLUMNS.items()},
        pd.DataFrame(COLUMNS),
        pd.DataFrame(COLUMNS, index=[7, 7, 9]),
        pd.DataFrame(COLUMNS).astype({"kind": "category", "path": "string", "width": "Int64"}),
    ],
    ids=["dict of lists", "dict of arrays", "dict of tuples", "pandas", "odd index", "pandas' own types"],
)
def test_every_kind_of_table_gives_the_same_samples(df: Any) -> None:
    data = from_dataframe(df, label="kind", store=STORE)
    assert data.keys == ("b.jpg", "a.jpg", "c.jpg")
    assert data.classes == ("cat", "dog")
    assert [sample.label for sample in data] == [1, 0, 1]
    assert [sample.columns for sample in data] == [
        {"width": 3, "when": 0.5},
        {"width": 4, "when": 1.5},
        {"width": 5, "when": 2.5},
    ]


def test_a_dataframe_without_label_has_none() -> None:
    data = from_dataframe(pd.DataFrame(COLUMNS), store=STORE)
    assert (data.labels, data[0].label, data[0].columns["kind"]) == (None, None, "dog")


def test_text_that_spells_numbers_stays_text() -> None:
    data = from_dataframe({"key": ["1", "2"], "label": ["10", "9"]}, label="label", store=STORE)
    assert data.classes == ("10", "9")


def test_the_callers_table_may_change_later() -> None:
    labels, widths = np.array([1.0]), np.array([3])
    data = from_dataframe({"key": ["a"], "label": labels, "width": widths}, label="label", store=STORE)
    labels[0] = widths[0] = 9
    assert (data[0].label, data[0].columns["width"]) == (1.0, 3)


def test_importing_the_module_imports_no_pandas() -> None:
    script = "import sys, aioloader.dataset.dataframe; print({'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_samples_come_as_keys_pairs_dicts_or_refs() -> None:
    assert from_samples(["b", "a"], store=STORE).keys == ("b", "a")
    expected = [SampleRef(index=0, key="b", label=1), SampleRef(index=1, key="a", label=0)]
    pairs = [("b", "dog"), ("a", "cat")]
    assert list(from_samples(pairs, store=STORE)) == expected
    assert list(from_samples(iter(pairs), store=STORE)) == expected
    assert list(from_samples([{"key": key, "label": label} for key, label in pairs], store=STORE)) == expected
    refs = [
        SampleRef(index=8, key="a", label=2.5, size_bytes=4, etag="e", byte_range=(1, 3), columns={"who": "Ann"}),
        SampleRef(index=8, key="a", label=3.5, columns={"who": "Bo"}),
    ]
    first, second = from_samples(refs, store=STORE)
    assert first == SampleRef(
        index=0, key="a", label=2.5, size_bytes=4, etag="e", byte_range=(1, 3), columns={"who": "Ann"}
    )
    assert second == SampleRef(index=1, key="a", label=3.5, columns={"who": "Bo"})


def test_a_dataset_can_be_listed_again() -> None:
    data = from_samples([("a", 1), ("b", 2)], store=STORE)
    assert from_samples(data, store=STORE).fingerprint == data.fingerprint


def test_label_options_are_those_of_other_datasets() -> None:
    data = from_samples([("a", "x"), ("b", "y")], store=STORE, label_mode="categorical", class_names=["y", "z", "x"])
    np.testing.assert_array_equal(data[0].label, np.array([0, 0, 1], np.float32))


async def test_local_paths_need_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ü %.jpg").write_bytes(b"here")
    monkeypatch.chdir(tmp_path / "in")
    absolute = tmp_path / "in/ü %.jpg"
    for key in (absolute, str(absolute), "ü %.jpg", "../in/ü %.jpg", Path("ü %.jpg")):
        data = await asyncio.to_thread(from_samples, [(key, 1)])
        assert await data.store.get(data.keys[0]) == b"here"
        await data.store.aclose()
    data = await asyncio.to_thread(from_dataframe, {"key": [str(absolute), tmp_path / "b"]})
    assert data.keys == (str(absolute)[1:], f"{tmp_path}/b"[1:])
    assert data.store.location == "file:///"


async def test_keys_may_lie_under_a_root_or_on_allowed_hosts(serve: Serve) -> None:
    url = await serve({"in/a.jpg": b"a"})
    for data in (
        from_samples(["a.jpg"], root=url + "in/"),
        from_samples(["a.jpg"], root=url + "in/", store=HTTPStore()),
        from_samples(["a.jpg"], store=HTTPStore().at(url + "in/")),
        from_samples([url + "in/a.jpg"], allow_hosts=["127.0.0.1"]),
        from_dataframe({"url": [url + "in/a.jpg"]}, allow_hosts=["127.0.0.1"]),
    ):
        assert await data.store.get(data.keys[0]) == b"a"
        await data.store.aclose()


@dataclass(frozen=True, kw_only=True)
class Bad:
    id: str
    make: Callable[..., Any]
    given: Any
    options: dict[str, Any] = field(default_factory=dict)
    error: type[Exception] = DatasetError
    says: str


BAD = [
    Bad(
        id="no samples",
        make=from_samples,
        given=[],
        error=EmptyDatasetError,
        says="the list of samples has no rows; give it one a sample",
    ),
    Bad(
        id="labels on some only",
        make=from_samples,
        given=["a", ("b", 1)],
        says="the list of samples: no label in sample 0 ('a'); fill them in, leave those samples out, "
        "or pass label=None",
    ),
    Bad(
        id="a triple",
        make=from_samples,
        given=[("a", 1), ("b", 1, 2)],
        says="sample 1 of the list is a tuple; give a key, a (key, label) pair, a dict or a SampleRef",
    ),
    Bad(
        id="text for a list",
        make=from_samples,
        given="a.jpg",
        error=OptionError,
        says="samples=a str: expected a list of keys or of (key, label) pairs",
    ),
    Bad(
        id="the same sample twice",
        make=from_samples,
        given=["a", "b", "a"],
        says="the list of samples names the same bytes twice: 'a' in sample 0 and sample 2; keep one row each",
    ),
    Bad(
        id="a host that is not allowed",
        make=from_samples,
        given=["a", "https://h.example/a?token=SECRET"],
        says="the list of samples: sample 1: the address https://h.example/a?token=… is on the host 'h.example', "
        "which is not allowed; if you trust the manifest's author with it, add allow_hosts=['h.example']",
    ),
    Bad(
        id="out of the root",
        make=from_samples,
        given=["../a"],
        options={"root": "/tmp"},
        says="the list of samples: sample 0 has the key '../a', which leads out of the root; "
        "keys are relative to root= and have no '..'",
    ),
    Bad(
        id="a wrong label column",
        make=from_dataframe,
        given=COLUMNS,
        options={"label": "label"},
        says="the dataframe has no column 'label'; its columns are 'path', 'kind', 'width', 'when': "
        "pass label=, one of them (or None)",
    ),
    Bad(
        id="no key column",
        make=from_dataframe,
        given={"name": ["a"]},
        says="the dataframe has no column 'key'; its columns are 'name': pass key=, one of them",
    ),
    Bad(
        id="missing cells",
        make=from_dataframe,
        given=pd.DataFrame({"key": ["a", "b", "c"], "label": [1, pd.NA, 3]}),
        options={"label": "label"},
        says="the dataframe: no label in row 1 ('b'); fill them in, leave those samples out, or pass label=None",
    ),
    Bad(
        id="missing keys",
        make=from_dataframe,
        given=pd.DataFrame({"key": ["a", None, np.nan]}),
        says="the dataframe: no key in row 1, row 2; every row needs one as text",
    ),
    Bad(
        id="unequal columns",
        make=from_dataframe,
        given={"key": ["a"], "label": [1, 2]},
        error=OptionError,
        says="df=columns of lengths {'key': 1, 'label': 2}: expected columns of equal length",
    ),
    Bad(
        id="a name twice",
        make=from_dataframe,
        given=pd.DataFrame([["a", "b"]], columns=["key", "key"]),
        error=OptionError,
        says="df=two columns 'key': expected columns with different names",
    ),
    Bad(
        id="no table",
        make=from_dataframe,
        given=[("a", 1)],
        error=OptionError,
        says="df=a list: expected a dataframe or a dict of columns",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_what_cannot_work_is_one_sentence(case: Bad) -> None:
    options = {"store": STORE} if "root" not in case.options else {}
    with pytest.raises(case.error) as caught:
        case.make(case.given, **options, **case.options)
    assert str(caught.value) == case.says
    assert isinstance(caught.value, ManifestError) is False
