"""`aioloader.progress`: where an epoch is and what limits it, on a terminal in place, elsewhere line by line."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.monitor.timeline import Moment, Settings, Timeline
from aioloader.monitor.verdict import Verdict
from aioloader.view import progress as module
from aioloader.view.progress import lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioloader.monitor.snapshot import Snapshot

STEPS = 10
SETTINGS = Settings(concurrency=64, workers=2, use_multiprocessing=False, max_queue_size=8)


def decode(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)


@pytest.fixture
def loader() -> Iterator[al.Loader]:
    """Ten batches of eight from memory."""
    store = al.MemoryStore({f"{number:02d}": bytes([number]) for number in range(8 * STEPS)})
    data = al.from_samples([f"{number:02d}" for number in range(8 * STEPS)], store=store)
    with al.Loader(data, decode=decode, batch_size=8) as made:
        yield made


@pytest.fixture
def snapshot(loader: al.Loader) -> Snapshot:
    """As it would be after 43 batches, the last four seconds of which are written here."""
    timeline = Timeline()
    for second in range(5):
        timeline.add(
            Moment(
                at_s=1000.0 + second,
                active_s=float(second),
                settings=SETTINGS,
                batches=4 * second,
                samples=32 * second,
                data_wait_s=0.25 * second,
                fetched=32 * second,
                fetch_s=1.6 * second,
                decoded=32 * second,
                decode_s=0.8 * second,
            )
        )
    now = loader.snapshot()
    stats = replace(now.stats, epochs=4, batches=43)
    verdict = Verdict(limit="network latency", sentence="...", knob="concurrency=480", gain=1.37)
    return replace(now, stats=stats, timeline=timeline, settings=SETTINGS, verdict=verdict, queued=6)


def test_the_lines_say_where_it_is_what_each_stage_does_and_what_limits_it(snapshot: Snapshot) -> None:
    assert lines(snapshot, STEPS, 6) == (
        "epoch 5/6 ━━━━━━────────────── 3/10 batches, 32 samples/s, 2 s left",
        " fetch 2/64, 50.0 ms · decode 0.8/2 threads, 25.0 ms · queue 6/8 · waits 25%",
        " limit: network latency -> concurrency=480, 1.4 times as fast",
    )


def test_a_number_of_epochs_that_is_not_known_is_left_out(snapshot: Snapshot) -> None:
    assert lines(snapshot, STEPS)[0].startswith("epoch 5 ━")


def test_an_epoch_that_was_left_early_leaves_the_bar_out_and_not_the_count(snapshot: Snapshot) -> None:
    torn = replace(snapshot, stats=replace(snapshot.stats, epochs=2))
    assert lines(torn, STEPS, 6)[0] == "epoch 3/6, 43 batches, 32 samples/s"


def test_the_end_is_the_whole_run(snapshot: Snapshot) -> None:
    done = replace(snapshot, stats=replace(snapshot.stats, epochs=6, batches=60, samples=480, elapsed_s=10.0))
    assert lines(done, STEPS, 6)[0] == "epoch 6/6 ━━━━━━━━━━━━━━━━━━━━ 10/10 batches, 48 samples/s"


def test_what_no_knob_moves_names_none(snapshot: Snapshot) -> None:
    fed = replace(snapshot, verdict=Verdict(limit="consumer", sentence="..."))
    assert lines(fed, STEPS)[2] == " limit: consumer"


@pytest.mark.parametrize(("left_s", "words"), [(59, "59 s"), (61, "1:01"), (3725, "1:02:05")])
def test_what_is_left_reads_as_a_clock(left_s: int, words: str) -> None:
    assert module._duration(left_s) == words


def test_before_the_first_figures_it_is_starting(loader: al.Loader) -> None:
    where, stages, limit = lines(loader.snapshot(), STEPS, 1)
    assert where == "epoch 1/1 ──────────────────── 0/10 batches, 0 samples/s"
    assert (stages, limit) == (" starting", " limit: startup")


class Watched(io.StringIO):
    """A file that says when something was written; a terminal, if it is to be one."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self._written = threading.Event()

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        done = super().write(text)
        self._written.set()
        return done

    def wait(self) -> None:
        self._written.clear()
        assert self._written.wait(10)


def shown(text: str) -> list[str]:
    """The lines as they were drawn, one after another, without the terminal's own words."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "\n", text).split("\n")


def test_on_a_terminal_the_lines_change_in_place(loader: al.Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.02)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Watched(is_terminal=True)
    with al.progress(loader, epochs=2, file=terminal):
        assert [thread.name for thread in threading.enumerate()].count("aioloader-progress") == 1
        for _ in range(2):
            for _ in loader:
                terminal.wait()
    drawn = shown(terminal.getvalue())
    counts = [int(found[1]) for line in drawn if (found := re.search(r" (\d+)/10 batches", line))]
    assert counts[0] <= 2
    assert len(set(counts)) > 5
    assert [line for line in drawn if "batches" in line][-1].startswith("epoch 2/2 ━━━━━━━━━━━━━━━━━━━━ 10/10")
    assert "\x1b[1A" in terminal.getvalue()  # up again
    assert all(len(line) <= 80 for line in drawn)
    assert not [thread for thread in threading.enumerate() if thread.name == "aioloader-progress"]


def test_into_a_file_a_line_goes_now_and_then_and_at_the_end(
    loader: al.Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EVERY_LINE_S", 0.05)
    file = Watched()
    with al.progress(loader, file=file):
        for _ in loader:
            file.wait()
    told = file.getvalue().splitlines()
    assert len(told) > STEPS
    assert all(re.fullmatch(r"epoch \d .*batches, .* samples/s.*; limit: .+", line) for line in told)
    assert "\x1b" not in file.getvalue()


def test_an_error_in_the_block_passes_and_the_last_line_is_told(loader: al.Loader) -> None:
    file = io.StringIO()

    def fail() -> None:
        with al.progress(loader, file=file):
            next(iter(loader))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.getvalue().count("\n") == 1
