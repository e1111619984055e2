"""The list of samples that were skipped, as JSON lines that a person and ``skip_list=`` can read."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aioloader.errors import DatasetError, OptionError
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioloader.dataset.samples import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One skipped sample and the one that stands in for it.

    ``key`` is for people, without secrets; ``identity`` is what a later run knows the sample by.
    """

    epoch: int
    position: int
    sample_id: int
    key: str
    identity: str
    stage: str
    error: str
    stand_in: int


class Ledger:
    """Entries in memory and, with a ``path``, appended to a file line by line."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Raises `OptionError` where the file cannot be written; it is created at once, while nothing is lost."""
        self.path = None if path is None else Path(path)
        if self.path is not None:
            try:
                self.path.open("a").close()
            except OSError as exc:
                raise OptionError(
                    "ledger", repr(str(path)), f"a file that can be written ({exc.strerror}); make its folder first"
                ) from exc
        self._entries: list[LedgerEntry] = []
        self._lock = threading.Lock()

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """Everything recorded so far, in the order the batches were delivered."""
        return tuple(self._entries)

    def record(self, entries: Iterable[LedgerEntry]) -> None:
        """Append ``entries``; the file is flushed before this returns."""
        new = list(entries)
        with self._lock:
            self._entries.extend(new)
            if self.path is not None and new:
                with self.path.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in new)


@dataclass(frozen=True)
class SkipList:
    """What to leave out: samples by the identity a ledger gave them, and whole objects by key."""

    identities: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()

    def applied_to(self, data: Dataset) -> Dataset:
        """``data`` without what is listed; what is listed and not there is ignored."""
        if not self.identities and not self.keys:
            return data
        keys = data.keys
        return data.without(
            index
            for index in range(len(data))
            if keys[index] in self.keys or (self.identities and data.identity(index) in self.identities)
        )


def read_skip_list(source: str | os.PathLike[str] | Iterable[str]) -> SkipList:
    """From a ledger file, or an iterable of keys.

    Raises `OptionError` for a file that cannot be read, `DatasetError` naming the line that is no ledger entry.
    """
    if not isinstance(source, str | os.PathLike):
        return SkipList(keys=frozenset(source))
    shown = shown_key(os.fspath(source))
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "this is no text"
        raise OptionError(
            "skip_list", repr(shown), f"a ledger file ({reason}), or a list of keys: [{shown!r}]"
        ) from exc
    identities = set()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            identities.add(str(json.loads(line)["identity"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise DatasetError(
                f"skip_list {shown}: line {number} is not a ledger entry; "
                'each line must be a JSON object with an "identity"'
            ) from exc
    return SkipList(identities=frozenset(identities))
