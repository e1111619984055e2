"""Which keys a manifest may name: inside its root, or on a host the user allowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aioloader.errors import ManifestError
from aioloader.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioloader.dataset.table import Table
    from aioloader.storage.absolute import AbsoluteStore

MAX_KEY_CHARS = 8192
"""Presigned URLs with session tokens take about 2,000."""

# Control characters split headers and log lines; a lone surrogate has no UTF-8; ".." and a leading slash
# lead out of the root, and "." never reaches a server: clients resolve it.
_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]|^/|(?:^|/)\.\.?(?:/|$)")


def shown(key: str) -> str:
    """``key`` for a message: quoted, escaped, short, and without the secrets of a presigned URL."""
    text = redact_url(key) if "://" in key else key
    return repr(text if len(text) <= 200 else f"{text[:200]}…")


def checked_keys(cells: Sequence[object], table: Table) -> tuple[str, ...]:
    """The cells as keys, exactly as they are; raises the table's error naming the first offending rows."""
    wrong = [row for row, cell in enumerate(cells) if not isinstance(cell, str) or not cell]
    if wrong:
        kinds = {type(cells[row]).__name__ for row in wrong} - {"str", "NoneType", "float", "NAType"}
        fault = f"a key that is not text ({', '.join(sorted(kinds))})" if kinds else "no key"
        raise table.error(f"{table.source}: {fault} in {table.places(wrong)}; every row needs one as text")
    keys = tuple(str(cell) for cell in cells)
    for row, key in enumerate(keys):
        if len(key) > MAX_KEY_CHARS or _REFUSED.search(key):
            raise table.error(f"{table.source}: {table.place(row)} has the key {shown(key)}, {_fault(key)}")
    return keys


def _fault(key: str) -> str:
    if len(key) > MAX_KEY_CHARS:
        return f"which is {len(key)} characters long; {MAX_KEY_CHARS} is the most"
    if re.search(r"[\x00-\x1f\x7f-\x9f]", key):
        return "which holds control characters; remove them"
    if re.search(r"[\ud800-\udfff]", key):
        return "which is not valid Unicode; write the manifest in UTF-8"
    if key.startswith("/") or ".." in key.split("/"):
        return "which leads out of the root; keys are relative to root= and have no '..'"
    return "which has a '.' segment that no server sees; write it without './'"


def refuse_other_hosts(keys: Sequence[str], table: Table, store: AbsoluteStore) -> bool:
    """Whether any key is an absolute URL; raises the table's error for the first that ``store`` refuses."""
    passed: set[str] = set()
    absolute = False
    for row, key in enumerate(keys):
        if "://" not in key:
            continue
        absolute = True
        slash = key.find("/", key.find("://") + 3)
        start = key if slash < 0 else key[:slash]  # scheme, user, host and port: checked once each
        if start in passed and "#" not in key:
            continue
        try:
            store.check(key)
        except ManifestError as exc:
            raise table.error(f"{table.source}: {table.place(row)}: {exc}") from None
        passed.add(start)
    return absolute
