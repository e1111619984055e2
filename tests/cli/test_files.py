"""The files of bench and tune: whole or not at all, in UTF-8, and refused before anything is measured."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aioloader.cli.files import check_file, write_files
from aioloader.cli.main import main
from aioloader.errors import AioloaderError, OptionError
from aioloader.view.whole_file import write_whole
from tests.cli.bench_rig import write_images

if TYPE_CHECKING:
    from tests.cli.conftest import Start

NOWHERE = Path("/proc/page.html")
"""In a folder that takes no file, not even root's."""


@pytest.mark.parametrize("command", [["bench", "--json"], ["bench", "--html"], ["tune", "--json"], ["tune", "--plot"]])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_read(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, option = command
    assert main([name, "http://127.0.0.1:9/never/asked/", option, str(NOWHERE)]) == 2
    said = capsys.readouterr()
    words = f"{option[2:]}='{NOWHERE}': expected a file that can be written ({os.strerror(errno.ENOENT)})"
    assert said.err == f"aioloader: {words}\n"
    assert said.out == ""


@pytest.mark.parametrize("command", ["bench", "tune"])
def test_a_folder_that_goes_while_it_is_measured_costs_one_file_and_one_sentence(
    command: str, tmp_path: Path, start: Start
) -> None:
    images, gone, kept = tmp_path / "images", tmp_path / "gone", tmp_path / "kept"
    for folder in (images, gone, kept):
        folder.mkdir()
    write_images(images, 48)
    page = "--html" if command == "bench" else "--plot"
    few = ["--modes", "sync", "--rounds", "1", "--seconds", "1"] if command == "bench" else ["--seconds", "3s"]
    options = ["--decode", "image:8x8", "--batch-size", "8", "--json", str(gone / "b.json"), page, str(kept / "b.html")]
    process = start(command, str(images), *options, *few)
    assert process.stdout is not None
    assert "48 samples" in process.stdout.readline()
    gone.rmdir()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.endswith(f"aioloader: {gone / 'b.json'} cannot be written: {os.strerror(errno.ENOENT)}\n")
    assert "Traceback" not in err
    assert f"written: {kept / 'b.html'}\n" in out
    assert [path.name for path in kept.iterdir()] == ["b.html"]


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_files({path: "new \udc80"})
    assert path.read_text() == "old"
    check_file("html", path)
    assert path.read_text() == "old"
    write_files({path: "größer"})
    assert path.read_bytes() == "größer".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    code = f"from pathlib import Path; from aioloader.cli.files import *; write_files({{Path({str(path)!r}): '\\xf6'}})"
    plain = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code], env=plain, check=True)
    assert path.read_bytes() == "\xf6".encode()


def test_a_link_stays_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    link, target, pipe = tmp_path / "link", tmp_path / "target", tmp_path / "pipe"
    link.symlink_to(target)
    write_whole(link, "text")
    assert link.is_symlink()
    assert target.read_text() == "text"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_file("html", pipe)
    write_whole(pipe, "text")
    assert os.read(end, 100) == b"text"
    os.close(end)
    assert pipe.is_fifo()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a file in a folder that exists"):
        check_file("html", tmp_path)
    with pytest.raises(AioloaderError, match=f"{tmp_path} cannot be written: "):
        write_files({tmp_path: "text"})
