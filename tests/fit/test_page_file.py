"""The page of a run that cannot be made costs a line in the log, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aioloader.fit.page_file import PageFile

if TYPE_CHECKING:
    from pathlib import Path

    from aioloader.monitor.snapshot import Snapshot


class Broken:
    """A loader that cannot say how it does."""

    def snapshot(self, *, since_s: float = 0.0) -> Snapshot:
        raise ZeroDivisionError("no figure")


class Interrupted:
    """Ctrl-C comes while it says how it does."""

    def snapshot(self, *, since_s: float = 0.0) -> Snapshot:
        raise KeyboardInterrupt


def test_what_fails_while_a_page_is_made_is_logged_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = tmp_path / "page.html"
    page.write_text("that of the epoch before")
    PageFile(Broken(), page).write()
    assert "could not be written" in caplog.text
    assert "ZeroDivisionError: no figure" in caplog.text
    assert page.read_text() == "that of the epoch before"
    assert list(tmp_path.iterdir()) == [page]


def test_ctrl_c_is_not_taken_for_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        PageFile(Interrupted(), tmp_path / "page.html").write()
