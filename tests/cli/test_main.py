"""Exit codes, messages, and what importing the command costs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from aioloader import __version__
from aioloader.cli import serve
from aioloader.cli.main import main
from aioloader.errors import OptionError

if TYPE_CHECKING:
    import argparse

COMMANDS = ["serve", "demo", "tune", "bench", "cache"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: aioloader {command}" in capsys.readouterr().out


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out or f"\n    {command} " in out for command in COMMANDS)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"aioloader {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["serve"], ["serve", ".", "--latency", "3x"], ["cache"], ["cache", "stat"]], ids=str
)
def test_what_cannot_be_parsed_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "/no/such/folder"], "aioloader: folder='/no/such/folder': expected an existing folder to serve\n"),
        (["serve", ".", "--port", "70000"], "aioloader: port=70000: expected 0 to 65535; 0 takes a free one\n"),
        (["demo", "--epochs", "0"], "aioloader: epochs=0: expected 1 or more\n"),
    ],
)
def test_an_error_of_ours_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(
    "arguments", [["--debug", "serve", "/no/such/folder"], ["serve", "/no/such/folder", "--debug"]], ids=str
)
def test_debug_shows_the_traceback(arguments: list[str]) -> None:
    with pytest.raises(OptionError):
        main(arguments)


def test_ctrl_c_is_code_130_without_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: argparse.Namespace) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "run", interrupted)
    assert main(["serve", "."]) == 130
    assert capsys.readouterr() == ("", "")


def test_output_nobody_reads_is_no_error() -> None:
    program = "import sys; from aioloader.cli import serve; serve.run = lambda options: print('x' * 10**6) or 0; "
    program += "from aioloader.cli.main import main; sys.exit(main(['serve', '.']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from aioloader.cli.main import build_parser; build_parser(); "
    program += "print([name for name in ('numpy', 'aiohttp', 'keras', 'sklearn', 'rich') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
