"""Decoders that die, hang or spoil their process on chosen samples. Light to import: every child of the tests does."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = np.ndarray[Any, np.dtype[np.uint8]]

DECODE_S = 0.003
"""About a JPEG of 500x375 with Pillow, asleep instead of busy: a kill hits as often and the machine is not loaded."""

FOREVER_S = 3600


def body(index: int) -> bytes:
    """The 48 bytes of sample ``index``: they tell which it is."""
    return index.to_bytes(8, "little") + random.Random(index).randbytes(40)


def index_of(data: bytes) -> int:
    """Which sample these bytes are."""
    return int.from_bytes(data[:8], "little")


def plus_one(data: bytes) -> Row:
    """uint8 ``(48,)``: each byte one more than in the file."""
    return np.frombuffer(data, np.uint8) + np.uint8(1)


def decode(data: bytes) -> Row:
    """`plus_one` after `DECODE_S`."""
    time.sleep(DECODE_S)
    return plus_one(data)


def sleep_with_the_gil(seconds: float) -> None:
    """No other thread of this interpreter runs meanwhile, the event loop's neither."""
    ctypes.PyDLL(None).sleep(int(seconds))


def hang_with_the_gil() -> None:
    """Only after the loop could tell what was decoded before: from here on this process says nothing more."""
    time.sleep(0.2)
    sleep_with_the_gil(FOREVER_S)


def close_every_descriptor() -> None:
    """The socket to the parent is one of them."""
    os.closerange(3, 4096)


def write_to_sockets(garbage: bytes) -> None:
    """``garbage`` into every socket of this process, the one to the parent among them."""
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()).startswith("socket:"):
                os.set_blocking(int(descriptor.name), True)
                os.write(int(descriptor.name), garbage)


WAYS: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "segfault": lambda: signal.raise_signal(signal.SIGSEGV),
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(FOREVER_S),
    "hang with the GIL": hang_with_the_gil,
    "close descriptors": close_every_descriptor,
    "a frame of 4 GB": lambda: write_to_sockets(b"\xff" * 64),
    "many empty frames": lambda: write_to_sockets(bytes(20_000)),
    "a short record": lambda: write_to_sockets(b"\x03\x00\x00\x00\x05abc"),
    "records of samples that were done before": lambda: write_to_sockets(
        b"".join(b"\x28\x00\x00\x00\x05" + stream.to_bytes(4, "little") + b"\x01" + bytes(35) for stream in range(2000))
    ),
    "deep JSON": lambda: write_to_sockets((100_000).to_bytes(4, "little") + b"\x06" + b"[" * 100_000),
    "noise": lambda: write_to_sockets(random.Random(5).randbytes(4096)),
}


@dataclass(frozen=True)
class Doing:
    """`decode`, and `WAYS[way]` before it on the samples in ``indices``."""

    way: str
    indices: tuple[int, ...]

    def __call__(self, data: bytes) -> Row:
        if index_of(data) in self.indices:
            WAYS[self.way]()
        return decode(data)


@dataclass(frozen=True)
class DoingOnce:
    """`Doing` for sample ``index`` the first time only, which a file in ``folder`` tells."""

    folder: str
    way: str
    index: int

    def __call__(self, data: bytes) -> Row:
        done = Path(self.folder) / "done"
        if index_of(data) == self.index and not done.exists():
            done.touch()
            WAYS[self.way]()
        return decode(data)


@dataclass(frozen=True)
class AsyncDoing:
    """The same as a coroutine that others overlap."""

    way: str
    indices: tuple[int, ...]

    async def __call__(self, data: bytes) -> Row:
        await asyncio.sleep(0.05)
        if index_of(data) in self.indices:
            WAYS[self.way]()
        await asyncio.sleep(0.05)
        return plus_one(data)


@dataclass(frozen=True)
class Waiting:
    """`decode`; sample ``index`` says in ``folder`` which process has it, and waits there for the file ``go``."""

    folder: str
    index: int

    def __call__(self, data: bytes) -> Row:
        if index_of(data) == self.index:
            folder = Path(self.folder)
            (folder / f"{os.getpid()}.pid").touch()
            while not (folder / "go").exists():
                time.sleep(0.005)
        return decode(data)


@dataclass(frozen=True)
class Marked:
    """Says in ``folder`` which process decodes, then `WAYS[way]`; with no way it goes on."""

    folder: str
    way: str = ""

    def __call__(self, data: bytes) -> Row:
        (Path(self.folder) / f"{os.getpid()}.pid").touch()
        if self.way:
            WAYS[self.way]()
        return decode(data)


class DiesWhenUnpickled:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)

    def __call__(self, data: bytes) -> Row:
        raise AssertionError("it was unpickled after all")
