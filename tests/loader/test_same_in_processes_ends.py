"""The comparison of what threads and a worker process decode, where something goes wrong or cannot be compared."""

from __future__ import annotations

import os
import time

import pytest

from aioloader.engine import hand_over, witnesses
from tests.loader import same_decoders
from tests.loader.deaths_decoders import plus_one
from tests.loader.same_rig import (
    BATCH_SIZE,
    N,
    count_slowly,
    in_threads,
    is_in_processes,
    make_loader,
    read_until_answered,
    refusals,
    wish_for_processes,
)


@pytest.fixture(autouse=True)
def changed_at_run_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker process, which imports the module afresh, does not know."""
    monkeypatch.setattr(same_decoders, "parent", os.getpid())
    monkeypatch.setattr(same_decoders, "_seen", set())


def test_a_decoder_that_kills_worker_processes_stays_in_threads() -> None:
    with make_loader(same_decoders.dies_elsewhere) as loader:
        seen = read_until_answered(loader)
        assert not is_in_processes(loader)
        assert "worker processes die in your decoder (the last with exit code 9)" in refusals(loader)[0]
    assert seen == in_threads(same_decoders.dies_elsewhere, len(seen) * BATCH_SIZE // N)


def test_a_decoder_that_hangs_in_a_worker_process_stays_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_over, "START_S", 5.0)
    with make_loader(same_decoders.hangs_elsewhere) as loader:
        read_until_answered(loader)
        assert not is_in_processes(loader)
        assert "your decoder did not get through 4 samples in a worker process within 5 s" in refusals(loader)[0]


def test_samples_that_are_too_large_to_be_sent_stay_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "LARGEST_BYTES", 47)
    monkeypatch.setattr(witnesses, "_PATIENCE_S", 0.5)
    with make_loader(plus_one) as loader:
        read_until_answered(loader)
        assert not is_in_processes(loader)
        assert "too large to be compared" in refusals(loader)[0]


def test_fewer_samples_will_do_where_the_others_are_too_large_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "MOST_BYTES", 48)
    monkeypatch.setattr(witnesses, "_PATIENCE_S", 0.5)
    with make_loader(plus_one) as loader:
        read_until_answered(loader)
        assert is_in_processes(loader)


def test_a_sample_that_can_be_decoded_once_alone_does_not_fail_for_being_looked_at() -> None:
    with make_loader(same_decoders.once) as loader:
        wish_for_processes(loader)
        epoch = 0
        while not refusals(loader):
            same_decoders._seen.clear()
            assert count_slowly(loader.open_epoch(epoch)) == N // BATCH_SIZE
            epoch += 1
        assert "fails where it decodes a sample once more (ValueError: seen before)" in refusals(loader)[0]


def test_a_decoder_that_only_one_thread_may_call_is_called_by_no_other() -> None:
    with make_loader(same_decoders.one_at_a_time, workers=1) as loader:
        seen = read_until_answered(loader)
        assert is_in_processes(loader)
        assert len(seen) % (N // BATCH_SIZE) == 0


def test_samples_that_fail_are_not_compared() -> None:
    with make_loader(same_decoders.every_third_fails, on_error="skip", max_error_rate=0.5) as loader:
        read_until_answered(loader)
        assert is_in_processes(loader)


def test_a_loader_that_is_closed_before_anything_could_be_compared_leaves_nothing() -> None:
    with make_loader(plus_one, max_queue_size=2) as loader:
        epoch = iter(loader)
        next(epoch)
        time.sleep(0.3)  # until the queue is full: nothing more is decoded
        wish_for_processes(loader)
        until_s = time.monotonic() + 20
        while loader._session.holdings._pool is None:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        time.sleep(1.0)
        assert loader._session.hand_over.is_under_way
        assert loader._job.witnesses.is_wanted
