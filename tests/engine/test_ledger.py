"""The ledger of skipped samples: lines that come back as a skip list."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from aioloader.engine.ledger import Ledger, LedgerEntry, SkipList, read_skip_list
from aioloader.errors import DatasetError, OptionError

if TYPE_CHECKING:
    from pathlib import Path


def entry(number: int, key: str = "a/ü b.jpg") -> LedgerEntry:
    return LedgerEntry(
        epoch=1,
        position=number,
        sample_id=number,
        key=key,
        identity=f"identity of {key}",
        stage="decode",
        error="broken\nat 3",
        stand_in=0,
    )


def test_without_a_path_entries_are_kept_in_memory_in_order() -> None:
    ledger = Ledger()
    ledger.record([entry(2), entry(1)])
    ledger.record([])
    ledger.record(iter([entry(3)]))
    assert [one.position for one in ledger.entries] == [2, 1, 3]


def test_a_file_has_one_json_line_for_each_entry_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    for number in range(2):
        Ledger(path).record([entry(number)])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [asdict(entry(0)), asdict(entry(1))]
    assert "ü" in lines[0]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_lost(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"ledger='.*bad\.jsonl': expected a file that can be written"):
        Ledger(tmp_path / "no folder" / "bad.jsonl")
    with pytest.raises(OptionError, match="ledger="):
        Ledger(tmp_path)


def test_opening_a_ledger_keeps_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"key": "a"}\n', encoding="utf-8")
    Ledger(path).record([])
    assert path.read_text(encoding="utf-8") == '{"key": "a"}\n'


def test_a_skip_list_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"skip_list='a\.jpg': expected a ledger file .*, or a list of keys"):
        read_skip_list("a.jpg")
    with pytest.raises(OptionError, match="skip_list="):
        read_skip_list(tmp_path)


def test_a_ledger_file_is_a_skip_list(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    Ledger(path).record([entry(0), entry(1, "b.jpg"), entry(2, "b.jpg")])
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert (
        read_skip_list(path)
        == read_skip_list(str(path))
        == SkipList(identities=frozenset({"identity of a/ü b.jpg", "identity of b.jpg"}))
    )


def test_an_iterable_of_keys_is_a_skip_list() -> None:
    assert read_skip_list(["a", "b", "a"]) == SkipList(keys=frozenset({"a", "b"}))
    assert read_skip_list(()) == SkipList()


@pytest.mark.parametrize("line", ["not json", "[]", '"text"', "{}", "3", "null"])
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"identity": "a"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"bad\.jsonl: line 3 is not a ledger entry"):
        read_skip_list(path)


def test_entries_of_two_threads_do_not_mix(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "bad.jsonl")

    def record(first: int) -> None:
        for number in range(first, first + 100):
            ledger.record([entry(number), entry(number)])

    threads = [threading.Thread(target=record, args=(first,)) for first in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()
    written = [json.loads(line)["position"] for line in lines]
    assert len(written) == 400
    assert written[::2] == written[1::2]
    assert written == [one.position for one in ledger.entries]
