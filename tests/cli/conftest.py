"""The command in a process of its own, as a shell starts it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Start: TypeAlias = "Callable[..., subprocess.Popen[str]]"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``python -m aioloader`` with the given arguments; what still runs at the end is killed."""
    with ExitStack() as stack:

        def start_command(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "aioloader", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start_command
