"""After each test nothing of ours is left, and no event loop was blocked by us.

What is checked is what the design promises: no thread named ``aioloader...``, no child process, no socket,
file or shared memory, no other handler of Ctrl-C, no pending task, nothing in asyncio's error log. Fixtures of a
wider scope (servers) start before the snapshot and are not counted. A test that must leave something says so with
``@pytest.mark.leaves("threads", "children", "descriptors", "signals", "log", reason="...")``, one that must block
a loop with ``@pytest.mark.blocks(reason="...")``.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytest_plugins = ["tests.reliability", "tests.s3_services"]
# Helpers that assert; here, before any test of the command line imports one of them.
pytest.register_assert_rewrite("tests.view.chromium", "tests.view.looking", "tests.view.reading")

# A slow example says that the machine is busy. A failing one prints how to run it again; each run draws others, CI too.
settings.register_profile(
    "aioloader", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False, print_blob=True
)
settings.load_profile("aioloader")

# Ends are promised within 1 s; the margin is for noisy machines. Only a failing test waits this long.
GRACE_S = 3.0

DESCRIPTORS = Path("/proc/self/fd")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "leaves(*kinds, reason): what this test may leave behind, and why")
    config.addinivalue_line("markers", "blocks(reason): this test may block an event loop")
    # A shell starts what runs in its background with Ctrl-C ignored, which every child would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def our_threads() -> set[str]:
    """Live threads of ours, as ``name (ident)``."""
    return {
        f"{thread.name} ({thread.ident})" for thread in threading.enumerate() if thread.name.startswith("aioloader")
    }


def child_processes() -> set[str]:
    """Children and theirs, as ``pid command``; zombies too, for somebody must wait for them."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            command = " ".join(child.cmdline()) or child.name()
        except psutil.ZombieProcess:
            command = "zombie"
        except psutil.NoSuchProcess:
            continue
        if "multiprocessing.resource_tracker" not in command:  # the interpreter's own, it lives on
            found.add(f"{child.pid} {command}")
    return found


def open_descriptors() -> set[str]:
    """Sockets, files and shared memory that are open, as ``descriptor -> target``; empty without /proc.

    Pipes, event and epoll descriptors are left out: uvloop and Rust runtimes keep theirs for the process.
    """
    if not DESCRIPTORS.is_dir():
        return set()
    found = set()
    for descriptor in list(DESCRIPTORS.iterdir()):
        try:
            target = str(descriptor.readlink())
        except OSError:  # closed meanwhile, as the one that listed them
            continue
        if target.startswith(("socket:", "/")) and not target.startswith("/dev/"):
            found.add(f"{descriptor.name} -> {target}")
    return found


def signal_handlers() -> set[str]:
    """Who answers Ctrl-C and SIGTERM."""
    return {f"{number.name} -> {signal.getsignal(number)!r}" for number in (signal.SIGINT, signal.SIGTERM)}


KINDS: dict[str, Callable[[], set[str]]] = {
    "threads": our_threads,
    "children": child_processes,
    "descriptors": open_descriptors,
    "signals": signal_handlers,
}


def remaining(look: Callable[[], set[str]], before: set[str]) -> set[str]:
    """What ``look`` sees beyond ``before`` once it had `GRACE_S` to go."""
    left = look() - before
    deadline = time.monotonic() + GRACE_S
    while left and time.monotonic() < deadline:
        gc.collect()  # ending by being collected is a promised ending
        time.sleep(0.02)
        left = look() - before
    return left


class ErrorLog(logging.Handler):
    """Keeps what asyncio reports about forgotten tasks, unclosed sessions and failing callbacks."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that left something of ours behind."""
    allowed = {kind for marker in request.node.iter_markers("leaves") for kind in marker.args}
    looks = {kind: look for kind, look in KINDS.items() if kind not in allowed}
    before = {kind: look() for kind, look in looks.items()}
    log = ErrorLog()
    asyncio_logger = logging.getLogger("asyncio")
    asyncio_logger.addHandler(log)
    try:
        yield
        left = {kind: remaining(look, before[kind]) for kind, look in looks.items()}
    finally:
        asyncio_logger.removeHandler(log)
    lines = [f"{kind}: {thing}" for kind, things in left.items() for thing in sorted(things)]
    if "log" not in allowed:
        lines += [f"asyncio's log: {message}" for message in log.messages]
    if lines:
        pytest.fail("this test left behind\n  " + "\n  ".join(lines), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def stalls_leave_their_traces_with_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A `StalledError` writes a file where temporary files go."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


@pytest.fixture
async def _no_task_is_left() -> AsyncIterator[None]:
    """Set up before and torn down after all else that lives on the test's loop."""
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + GRACE_S
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        if time.monotonic() > deadline:
            pytest.fail("this test left tasks pending\n  " + "\n  ".join(map(repr, left)), pytrace=False)
        await asyncio.wait(left, timeout=GRACE_S)


@pytest.fixture(autouse=True)
def tasks_end(request: pytest.FixtureRequest) -> None:
    """Check asynchronous tests for tasks that outlive them; the background loop's end with its thread."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_no_task_is_left")


@pytest.fixture(scope="session")
def blockbuster() -> BlockBuster:
    """Raises in code of ours that blocks a thread in which an event loop runs: the background loop's too."""
    detector = BlockBuster("aioloader", excluded_modules=["aioloader.testing"])
    # Waits some milliseconds for the thread to be there, once a process.
    detector.functions["threading.Lock.acquire"].can_block_in("aioloader/runtime/loop_thread.py", "start")
    # Not a disk: the kernel writes it as it is read, in some 30 us.
    for name in ("io.TextIOWrapper.read", "io.BufferedReader.read"):
        detector.functions[name].can_block_in("aioloader/runtime/cpu.py", "idle_s")
    return detector


@pytest.fixture(autouse=True)
def no_loop_is_blocked(request: pytest.FixtureRequest, blockbuster: BlockBuster) -> Iterator[None]:
    """Turn a blocking call on any event loop into an error where it is made."""
    if request.node.get_closest_marker("blocks"):
        yield
        return
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()
