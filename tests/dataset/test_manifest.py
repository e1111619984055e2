"""`manifest`: CSV, JSON lines and Parquet say the same; every wrong row is one sentence that names it."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

import aioloader.dataset.manifest
import aioloader.dataset.parquet
from aioloader.dataset.manifest import manifest
from aioloader.errors import (
    DatasetError,
    EmptyDatasetError,
    ManifestError,
    ObjectNotFoundError,
    OptionError,
)
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from aioloader.dataset.samples import Dataset

    Serve: TypeAlias = Callable[[Mapping[str, bytes]], Awaitable[str]]

ROWS = [
    {"key": "b/ü 1%20.jpg", "label": "dog", "size": 5, "etag": "x", "offset": 0, "length": 2, "who": "Ann"},
    {"key": 'a,b/"2".jpg', "label": "cat", "size": 7, "etag": "y", "offset": 3, "length": 4, "who": "Bo"},
    {"key": "日本.jpg", "label": "dog", "size": 9, "etag": "z", "offset": 0, "length": 9, "who": "Ü"},
]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n') else text

    lines = [",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    return "\n".join(lines).encode()


def as_json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


FORMATS = {"m.csv": as_csv, "m.jsonl": as_json_lines, "m.NDJSON": as_json_lines, "m.parquet": as_parquet}


def read(name: str, body: bytes | str, **options: Any) -> Dataset:
    store = MemoryStore({name: body if isinstance(body, bytes) else body.encode()})
    return manifest(name, store=store, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name: str) -> None:
    data = read(name, FORMATS[name](ROWS))
    assert data.keys == tuple(row["key"] for row in ROWS)
    assert data.classes == ("cat", "dog")
    assert [sample.label for sample in data] == [1, 0, 1]
    assert [sample.size_bytes for sample in data] == [5, 7, 9]
    assert [sample.etag for sample in data] == ["x", "y", "z"]
    assert [sample.byte_range for sample in data] == [(0, 2), (3, 7), (0, 9)]
    assert [sample.columns for sample in data] == [{"who": who} for who in ("Ann", "Bo", "Ü")]
    assert data.fingerprint == read("m.csv", as_csv(ROWS)).fingerprint


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("labels", "dtype"), [([3, -1, 0], np.int64), ([0.5, 2.25, -1.5], np.float32), ([1, 0, 1], np.int64)]
)
def test_numbers_are_numbers_in_every_format(name: str, labels: list[Any], dtype: Any) -> None:
    rows = [{"key": f"{label}", "label": label, "extra": label} for label in labels]
    rows[-1]["key"] += "x"
    data = read(name, FORMATS[name](rows))
    assert data.labels is not None
    assert data.labels.dtype == dtype
    assert data.labels.tolist() == labels
    assert data.classes is None
    assert [type(sample.columns["extra"]) for sample in data] == [type(label) for label in labels]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/."), min_size=1),
            st.sampled_from(["cat", "dog", 'd,o"g']),
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_any_key_passes_through_every_format_unchanged(pairs: list[tuple[str, str]]) -> None:
    rows = [{"key": key, "label": label} for key, label in pairs]
    for name, write in FORMATS.items():
        data = read(name, write(rows))
        assert list(data.keys) == [key for key, _ in pairs]
        assert data.classes == tuple(sorted({label for _, label in pairs}))


def test_csv_numbers_that_are_names_stay_names() -> None:
    data = read("m.csv", "key,label\n007,007\n12,012\n")
    assert data.keys == ("007", "12")
    assert data.classes == ("007", "012")
    named = read("m.csv", "key,label\na,10\nb,9\n", class_names=["9", "10", "11"])
    assert [sample.label for sample in named] == [1, 0]
    ids = read("m.csv", "key,label\na,1\nb,0\n", class_names=["cat", "dog"])
    assert [sample.label for sample in ids] == [1, 0]
    assert ids.classes == ("cat", "dog")


def test_a_byte_order_mark_and_blank_lines_do_no_harm() -> None:
    for name, body in (
        ("m.csv", "\ufeffkey,label\r\n\r\na,1\r\n"),
        ("m.jsonl", '\ufeff{"key": "a", "label": 1}\n \n'),
    ):
        assert read(name, body).keys == ("a",)


@pytest.mark.parametrize("column", ["key", "url", "path", "file_name"])
def test_the_usual_names_of_key_columns_are_known(column: str) -> None:
    assert read("m.csv", f"other,{column}\nx,a\n", label=None).keys == ("a",)


def test_key_and_label_columns_can_be_named() -> None:
    data = read("m.csv", "key,img,kind\nx,a,3\ny,b,4\n", key="img", label="kind")
    assert data.keys == ("a", "b")
    assert [sample.label for sample in data] == [3, 4]
    assert data[0].columns == {"key": "x"}


def test_without_labels_the_label_column_is_one_like_others() -> None:
    for options in ({"label": None}, {"label_mode": None}):
        data = read("m.csv", "key,label\na,n/a\n", **options)
        assert data.labels is None
        assert data[0].columns == {"label": "n/a"}


def test_vectors_are_labels_in_json_and_parquet() -> None:
    rows = [{"key": "a", "label": [0.5, 1.0]}, {"key": "b", "label": [2.0, 3.0]}]
    for name in ("m.jsonl", "m.parquet"):
        data = read(name, FORMATS[name](rows))
        assert data.labels is not None
        assert data.labels.dtype == np.float32
        assert data.labels.tolist() == [[0.5, 1.0], [2.0, 3.0]]


def test_what_a_row_does_not_know_is_unknown() -> None:
    rows = [
        {"key": "a", "label": 1, "size": None, "etag": None, "offset": None, "length": None, "n": None},
        {"key": "a", "label": 1, "size": 4, "etag": "e", "offset": 1, "length": 2, "n": 3},
    ]
    for name, write in FORMATS.items():
        first, second = read(name, write(rows))
        assert (first.size_bytes, first.etag, first.byte_range) == (None, None, None)
        assert (second.size_bytes, second.etag, second.byte_range) == (4, "e", (1, 3))
    assert [sample.columns for sample in read("m.jsonl", '{"key":"a","x":1}\n{"key":"b","y":{"z":2}}', label=None)] == [
        {"x": 1, "y": None},
        {"x": None, "y": {"z": 2}},
    ]


def test_offset_or_length_alone_is_an_ordinary_column() -> None:
    data = read("m.csv", "key,label,length\na,1,3.5\n")
    assert (data[0].byte_range, data[0].columns) == (None, {"length": 3.5})


async def test_keys_are_relative_to_the_manifest_or_to_root(tmp_path: Path, serve: Serve) -> None:
    body = b"key,label\na.jpg,1\n"
    objects = {"deep/m.csv": body, "deep/a.jpg": b"near", "other place/a.jpg": b"far"}
    for key, content in objects.items():
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(content)
    url = await serve(objects)
    cases: list[tuple[Any, Any, Any]] = [
        (str(tmp_path / "deep/m.csv"), None, None),
        (tmp_path / "deep/m.csv", None, None),
        ((tmp_path / "deep/m.csv").as_uri(), None, None),
        (url + "deep/m.csv?token=SECRET", None, None),
        (url + "deep/m.csv", HTTPStore(), None),
        ("deep/m.csv", MemoryStore(objects), None),
        (str(tmp_path / "deep/m.csv"), None, tmp_path / "other place"),
        (url + "deep/m.csv", None, url + "other%20place/"),
        ("deep/m.csv", MemoryStore(objects), "other place"),
    ]
    for address, store, root in cases:
        data = await asyncio.to_thread(manifest, address, store=store, root=root)
        assert await data.store.get(data.keys[0]) == (b"near" if root is None else b"far")
        await data.store.aclose()
        assert "SECRET" not in repr(data)


async def test_a_manifest_at_the_root_of_a_store_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.csv").write_bytes(b"key,label\na.jpg,1\n")
    monkeypatch.chdir(tmp_path)
    assert (await asyncio.to_thread(manifest, "m.csv")).store.location == tmp_path.as_uri() + "/"


async def test_absolute_addresses_are_read_from_allowed_hosts_only(serve: Serve) -> None:
    elsewhere = await serve({"x/a 1.jpg": b"far", "signed": b"signed"})
    rows = [f"{elsewhere}x/a%201.jpg", f"{elsewhere}signed?X-Amz-Signature=SECRET", "near.jpg"]
    body = "url,label\n" + "".join(f"{row},1\n" for row in rows)
    url = await serve({"m.csv": body.encode(), "near.jpg": b"near"})
    data = await asyncio.to_thread(lambda: manifest(url + "m.csv", allow_hosts=["127.0.0.1"]))
    assert [await data.store.get(key) for key in data.keys] == [b"far", b"signed", b"near"]
    await data.store.aclose()
    assert "SECRET" not in repr(data) + json.dumps(data.fingerprint_parts)

    with pytest.raises(ManifestError) as caught:
        await asyncio.to_thread(lambda: manifest(url + "m.csv", allow_hosts=["127.0.0.2"]))
    assert f"manifest {url}m.csv: line 2: the address {elsewhere}x/a%201.jpg is on the host '127.0.0.1'" in str(
        caught.value
    )
    assert "allow_hosts=['127.0.0.1']" in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Bad:
    id: str
    body: bytes | str
    says: str
    name: str = "m.csv"
    options: dict[str, Any] = field(default_factory=dict)
    error: type[Exception] = ManifestError


BAD = [
    Bad(
        id="wrong label column",
        body="key,kind,width\na,1,2\n",
        says="manifest m.csv has no column 'label'; its columns are 'key', 'kind', 'width': "
        "pass label=, one of them (or None)",
    ),
    Bad(
        id="wrong key column",
        body="name,label\na,1\n",
        says="manifest m.csv has no column 'key'; its columns are 'name', 'label': pass key=, one of them",
    ),
    Bad(
        id="named key column missing",
        body="key,label\na,1\n",
        options={"key": "img"},
        says="manifest m.csv has no column 'img'; its columns are 'key', 'label': pass key=, one of them",
    ),
    Bad(
        id="no key",
        body="key,label\na,1\n,1\n\n,1\n,1\n,1\n,1\n,1\n",
        says="manifest m.csv: no key in line 3, line 5, line 6, line 7, line 8 and 1 more; every row needs one as text",
    ),
    Bad(
        id="a key that is a number",
        name="m.jsonl",
        body='{"key": "a", "label": 1}\n{"key": 3, "label": 1}\n',
        says="manifest m.jsonl: a key that is not text (int) in line 2; every row needs one as text",
    ),
    Bad(
        id="duplicates",
        body="key,label\na,1\nb,1\na,1\nb,2\na,3\n",
        says="manifest m.csv names the same bytes twice: 'a' in line 2 and line 4, 'b' in line 3 and line 5, "
        "'a' in line 2 and line 6; keep one row each",
    ),
    Bad(
        id="duplicate ranges",
        body="key,label,offset,length\na,1,0,5\na,1,5,5\na,1,0,5\n",
        says="manifest m.csv names the same bytes twice: 'a' in line 2 and line 4; keep one row each",
    ),
    Bad(
        id="missing label",
        body="key,label\na,1\nb,\n",
        says="manifest m.csv: no label in line 3 ('b'); fill them in, leave those samples out, or pass label=None",
    ),
    Bad(
        id="numbers and text",
        body="key,label\na,1.5\nb,n/a\n",
        says="manifest m.csv: column 'label' mixes numbers ('1.5' in line 2) and text ('n/a' in line 3); "
        "correct it, or pass class_names= if all are names",
    ),
    Bad(
        id="a label outside class_names",
        body="key,label\na,cat\nb,dgo\n",
        options={"class_names": ["cat", "dog"]},
        says="manifest m.csv: line 3 ('b') has the label 'dgo', which is not in class_names=['cat', 'dog'] "
        "(1 samples have such labels); add it to class_names or leave those samples out",
    ),
    Bad(
        id="out of the root",
        body="key,label\na/../../b,1\n",
        says="manifest m.csv: line 2 has the key 'a/../../b', which leads out of the root; "
        "keys are relative to root= and have no '..'",
    ),
    Bad(
        id="absolute path",
        body="key,label\n/etc/passwd,1\n",
        says="manifest m.csv: line 2 has the key '/etc/passwd', which leads out of the root; "
        "keys are relative to root= and have no '..'",
    ),
    Bad(
        id="dot segment",
        body="key,label\n./a.jpg,1\n",
        says="manifest m.csv: line 2 has the key './a.jpg', which has a '.' segment that no server sees; "
        "write it without './'",
    ),
    Bad(
        id="control characters",
        body='key,label\n"a\r\nX: y",1\n',
        says=r"manifest m.csv: line 3 has the key 'a\r\nX: y', which holds control characters; remove them",
    ),
    Bad(
        id="half a character",
        name="m.jsonl",
        body='{"key": "a\\ud800", "label": 1}',
        says=r"manifest m.jsonl: line 1 has the key 'a\ud800', which is not valid Unicode; "
        "write the manifest in UTF-8",
    ),
    Bad(
        id="a long key",
        body=f"key,label\n{'k' * 9000},1\n",
        says=f"manifest m.csv: line 2 has the key '{'k' * 200}…', which is 9000 characters long; 8192 is the most",
    ),
    Bad(
        id="a foreign host, its secret hidden",
        body="url,label\nhttps://me:SECRET@evil.example/a.jpg?sig=SECRET,1\n",
        options={"allow_hosts": ["good.example"]},
        says="manifest m.csv: line 2: the address https://evil.example/a.jpg?sig=… is on the host "
        "'evil.example', which is not allowed; if you trust the manifest's author with it, "
        "add allow_hosts=['evil.example']",
    ),
    Bad(
        id="a scheme that is not the web's",
        body="url,label\nfile:///etc/passwd,1\n",
        options={"allow_hosts": ["good.example"]},
        says="manifest m.csv: line 2: the address 'file:///etc/passwd' cannot be used: "
        "expected an address such as 'https://host/train/'",
    ),
    Bad(
        id="the wrong number of cells",
        body="key,label\na,1\nb,c,1\n",
        says="manifest m.csv: line 3 has 3 cells and the header has 2; quote cells that hold commas",
    ),
    Bad(
        id="an open quote",
        body='key,label\n"a,1\n',
        says="manifest m.csv: line 2 is not CSV: unexpected end of data; correct its quotes",
    ),
    Bad(
        id="not UTF-8",
        body=b"key,label\n\xff,1\n",
        says="manifest m.csv: line 2 is not UTF-8; save the manifest as UTF-8",
    ),
    Bad(
        id="no header",
        body="",
        says="manifest m.csv is empty; its first line names the columns, such as 'key,label'",
    ),
    Bad(
        id="a column twice",
        body="key,label,label\na,1,2\n",
        says="manifest m.csv: the header names 'label' twice; give every column its own name",
    ),
    Bad(
        id="a column without a name",
        body="key,label,\na,1,2\n",
        says="manifest m.csv: the header leaves a column without a name; give every column its own name",
    ),
    Bad(
        id="too many columns",
        body=",".join(map(str, range(1001))) + "\n",
        says="manifest m.csv has 1001 columns; 1000 is the most",
    ),
    Bad(
        id="a header only",
        body="key,label\n",
        error=EmptyDatasetError,
        says="manifest m.csv has no rows; give it one a sample",
    ),
    Bad(
        id="bad JSON",
        name="m.jsonl",
        body='{"key": "a", "label": 1}\n\n{"key": \n',
        says="manifest m.jsonl: line 3 is not JSON: Expecting value: line 2 column 1 (char 9)",
    ),
    Bad(
        id="UTF-16",
        name="m.jsonl",
        body='{"key": "a", "label": 1}'.encode("utf-16"),
        says="manifest m.jsonl: line 1 is not JSON: 'utf-8' codec can't decode byte 0xff in position 0: "
        "invalid start byte",
    ),
    Bad(
        id="an array",
        name="m.jsonl",
        body="[1]\n",
        says="manifest m.jsonl: line 1 is a list; every line is an object such as "
        '{"key": "cats/1.jpg", "label": "cat"}',
    ),
    Bad(
        id="a long line",
        name="m.jsonl",
        body='{"key": "' + "k" * (1 << 20) + '"}\n',
        says="manifest m.jsonl: line 1 has 1048588 bytes, 1048576 is the most; "
        "JSON lines hold one object a line, not one for the whole file",
    ),
    Bad(
        id="a column a row",
        name="m.jsonl",
        body="\n".join(f'{{"c{row}": 1}}' for row in range(1002)),
        says="manifest m.jsonl: line 1001 makes more than 1000 columns",
    ),
    Bad(
        id="a size that is none",
        body="key,label,size\na,1,5\nb,1,XL\n",
        says="manifest m.csv: line 3 has 'XL' in column 'size', which holds whole numbers of bytes; "
        "correct it, or rename the column if it means something else",
    ),
    Bad(
        id="a negative offset",
        name="m.jsonl",
        body='{"key": "a", "label": 1, "offset": -1, "length": 1}',
        says="manifest m.jsonl: line 1 has '-1' in column 'offset', which holds whole numbers of bytes; "
        "correct it, or rename the column if it means something else",
    ),
    Bad(
        id="half a range",
        body="key,label,offset,length\na,1,0,5\nb,1,,5\nc,1,5,0\n",
        says="manifest m.csv: 'offset' and 'length' do not make a byte range in line 3, line 4; "
        "give both, with a length of at least 1, or leave both empty for the whole object",
    ),
    Bad(
        id="an etag with a line break",
        name="m.jsonl",
        body='{"key": "a", "label": 1, "etag": "x\\r\\ny"}',
        says="manifest m.jsonl: line 1 has an etag that is not a short printable text",
    ),
    Bad(
        id="an unknown ending",
        name="m.txt",
        body="",
        error=OptionError,
        says="url='m.txt': expected a name ending in .csv, .jsonl, .ndjson or .parquet",
    ),
    Bad(
        id="allow_hosts as text",
        body="key,label\na,1\n",
        options={"allow_hosts": "good.example"},
        error=OptionError,
        says="allow_hosts='good.example': expected a list: ['good.example']",
    ),
    Bad(
        id="an unknown mode, before anything is read",
        name="not-there.csv",
        body="",
        options={"label_mode": "one-hot"},
        error=OptionError,
        says="label_mode='one-hot': expected 'int', 'categorical', 'binary' or None",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_what_cannot_work_is_one_sentence(case: Bad) -> None:
    with pytest.raises(case.error) as caught:
        read(case.name, case.body, **case.options)
    assert str(caught.value) == case.says
    assert "SECRET" not in str(caught.value)


def test_deep_json_is_an_error_and_no_crash() -> None:
    with pytest.raises(ManifestError, match="line 1 is not JSON"):
        read("m.jsonl", '{"key":' + "[" * 200_000)


def test_rows_of_parquet_are_counted_from_one() -> None:
    rows: list[dict[str, Any]] = [{"key": "a", "label": 1}, {"key": None, "label": 1}]
    with pytest.raises(ManifestError, match=r"no key in row 2; every row needs one as text"):
        read("m.parquet", as_parquet(rows))


def test_broken_parquet_is_a_manifest_error() -> None:
    whole = as_parquet(ROWS)
    for body in (b"", b"key,label\n", whole[: len(whole) // 2], whole[:-20] + b"\0" * 20):
        with pytest.raises(ManifestError, match=r"manifest m\.parquet is not readable Parquet"):
            read("m.parquet", body)


def test_parquet_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioloader.dataset.parquet, "MAX_UNPACKED_BYTES", 10_000)
    body = as_parquet([{"key": f"{row:06}", "label": "same" * 10} for row in range(1000)])
    with pytest.raises(ManifestError, match=r"m\.parquet unpacks to more than 10000 bytes; split it"):
        read("m.parquet", body)


def test_a_manifest_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioloader.dataset.manifest, "MAX_MANIFEST_BYTES", 10)
    with pytest.raises(ManifestError, match=r"m\.csv has 16 bytes, 10 is the most; split it"):
        read("m.csv", "key,label\na.b,1\n")


def test_without_pyarrow_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from aioloader.dataset.manifest import manifest\n"
        "from aioloader.storage.memory import MemoryStore\n"
        "try: manifest('m.parquet', store=MemoryStore({'m.parquet': b''}))\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == (
        f"{DatasetError.__name__} manifest m.parquet needs pyarrow to be read; "
        "install it: pip install 'aioloader[parquet]'\n"
    )


def test_a_missing_manifest_is_the_stores_error() -> None:
    with pytest.raises(ObjectNotFoundError, match=r"m\.csv"):
        manifest("m.csv", store=MemoryStore())
