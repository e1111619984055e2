"""`manifest`: a dataset written down, as CSV, JSON lines or Parquet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aioloader.dataset.csv_table import read_csv
from aioloader.dataset.jsonl_table import read_json_lines
from aioloader.dataset.parquet import read_parquet
from aioloader.dataset.rows import RowOptions, dataset_of
from aioloader.errors import ManifestError, OptionError
from aioloader.redact import redact_url
from aioloader.runtime.loop import run_on_loop
from aioloader.storage.local.store import LocalStore
from aioloader.storage.url import open_store, read_object, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.dataset.labels import LabelMode
    from aioloader.dataset.samples import Dataset
    from aioloader.dataset.table import Table
    from aioloader.types import Store

MAX_MANIFEST_BYTES = 1 << 30
"""About 10 million rows."""


def manifest(
    url: str | os.PathLike[str],
    *,
    store: Store | None = None,
    root: str | os.PathLike[str] | None = None,
    key: str | None = None,
    label: str | None = "label",
    label_mode: LabelMode | None = "int",
    class_names: Sequence[str] | None = None,
    allow_hosts: Sequence[str] = (),
) -> Dataset:
    """The samples a manifest names, one a row, in its order.

    The name's ending says the format: ``.csv`` (with a header row), ``.jsonl`` or ``.ndjson``, ``.parquet``
    (extra ``parquet``). Keys stand in the column ``key`` (default: the first of key, url, path, file_name
    that there is), relative to ``root`` (default: the manifest's own folder); absolute ``http(s)://`` URLs,
    presigned ones too, only for hosts in ``allow_hosts``.

    Labels stand in the column ``label``, or there are none with ``label=None`` or ``label_mode=None``. Text
    becomes int64 class ids, with ``classes`` sorted or as in ``class_names``; whole numbers stay int64;
    fractions become float32; lists of numbers become rows. ``label_mode`` is that of `image_folder`. CSV
    cells that all are plain numbers are numbers ("007" is text).

    The columns ``size`` or ``size_bytes`` (of the object), ``etag``, and ``offset`` with ``length`` (the
    sample's bytes in the object) are used as such; every other column is carried along in
    ``SampleRef.columns``.

    Reads when called. Raises `OptionError`, `ManifestError` naming line and column, or the store's error.
    """
    options = RowOptions(key=key, label=label, label_mode=label_mode, class_names=class_names)
    address = os.fspath(url)
    printable = redact_url(address) if scheme_of(address) is not None else address
    plain = _without_query(address)
    read = _reader(plain, printable)
    base = open_store(root if root is not None else _folder(plain, store), store)

    body = run_on_loop(read_object(address, store), using=store)
    source = f"manifest {printable}"
    if len(body) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{source} has {len(body)} bytes, {MAX_MANIFEST_BYTES} is the most; split it")
    return dataset_of(read(body, source), options, base, allow_hosts=allow_hosts, options_of=store)


def _reader(plain: str, printable: str) -> Callable[[bytes, str], Table]:
    name = plain.lower()
    if name.endswith(".csv"):
        return read_csv
    if name.endswith((".jsonl", ".ndjson")):
        return read_json_lines
    if name.endswith(".parquet"):
        return read_parquet
    raise OptionError("url", repr(printable), "a name ending in .csv, .jsonl, .ndjson or .parquet")


def _without_query(address: str) -> str:
    # Elsewhere "?" is a character of the name.
    return address.partition("?")[0] if scheme_of(address) in ("http", "https") else address


def _folder(plain: str, store: Store | None) -> str:
    folder, slash, _ = plain.rpartition("/")
    if slash:
        return folder + slash
    # A name alone lies in the working directory, or at the root of the caller's store.
    return "." if store is None or isinstance(store, LocalStore) else ""
