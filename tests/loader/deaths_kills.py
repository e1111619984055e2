"""Epochs read while worker processes are killed at random: 30 times in CI, 500 in `scripts/long/kill_workers`."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

import numpy as np

import aioloader as al
from aioloader.engine.processes.stream import ProcessStream
from aioloader.engine.processes.suspects import Suspects
from tests.loader.conftest import worker_pids
from tests.loader.deaths_decoders import body, decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aioloader.engine.processes.link import Link
    from aioloader.types import Batch

N_SAMPLES = 200
BATCH_SIZE = 8

MOST_IN_A_ROW = 5

Digest = list[tuple[tuple[int, ...], str]]
"""Of each batch: the sample ids, and a hash of ids, pixels and labels."""


def write_samples(folder: Path, n_samples: int = N_SAMPLES) -> list[tuple[str, int]]:
    """A file for each sample; returns (key, label) of each."""
    pairs = [(f"{index:04d}.bin", index) for index in range(n_samples)]
    for key, index in pairs:
        (folder / key).write_bytes(body(index))
    return pairs


def samples_in_memory(n_samples: int = N_SAMPLES) -> al.Dataset:
    """The same without files."""
    store = al.MemoryStore({f"{index:04d}.bin": body(index) for index in range(n_samples)})
    return al.from_samples([(f"{index:04d}.bin", index) for index in range(n_samples)], store=store)


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Whether it was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Killer:
    """Kills a random worker after a random wait, again and again until ``kills`` are done; every tenth time two.

    At most `MOST_IN_A_ROW` without a batch in between: six in a row end a run by design.
    """

    def __init__(self, seed: int, kills: int, *, least_wait_s: float = 0.0, mean_wait_s: float = 0.3) -> None:
        """``mean_wait_s`` comes on top of ``least_wait_s``: a lone worker must live long enough to finish something."""
        self.kills_left = kills
        self.done = 0
        self._random = random.Random(seed)
        self._least_wait_s = least_wait_s
        self._mean_wait_s = mean_wait_s
        self._in_a_row = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def saw_batch(self) -> None:
        """There is progress."""
        self._in_a_row = 0

    def _run(self) -> None:
        while self.kills_left > 0 and not self._stop.wait(self._wait_s()):
            pids = sorted(worker_pids())
            most = min(self.kills_left, len(pids), MOST_IN_A_ROW - self._in_a_row)
            for pid in self._random.sample(pids, min(2 if self._random.random() < 0.1 else 1, most)):
                self._in_a_row += 1
                if kill(pid):
                    self.kills_left -= 1
                    self.done += 1

    def _wait_s(self) -> float:
        return self._least_wait_s + self._random.expovariate(1 / self._mean_wait_s)


@dataclass
class Deaths:
    """What the streams heard of deaths; one between two epochs nobody hears of, one while a stream ends two may."""

    pids: set[int] = field(default_factory=set)
    not_killed: list[int] = field(default_factory=list)
    """Exit codes other than SIGKILL's."""
    with_suspect: int = 0
    """A sample was in user code, with other samples waiting."""
    alone: int = 0
    """The one sample the process had was in user code, once more."""
    most_alone: int = 0
    """The most deaths that one sample was alone with."""


@contextmanager
def counted_deaths() -> Iterator[Deaths]:
    """Count what becomes of the samples of dead workers, in every stream, until the ``with`` block ends."""
    counted = Deaths()
    on_death, died_alone = ProcessStream.on_death, Suspects.died_alone

    def count_death(stream: ProcessStream, link: Link, suspects: list[int], code: int) -> None:
        counted.pids.add(link.pid)
        if code != -signal.SIGKILL:
            counted.not_killed.append(code)
        if not link.is_solo and set(suspects) & set(link.outstanding.get(stream.number, ())):
            counted.with_suspect += 1
        on_death(stream, link, suspects, code)

    def count_alone(suspects: Suspects, ticket: int, code: int) -> bool:
        counted.alone += 1
        counted.most_alone = max(counted.most_alone, suspects.deaths_alone(ticket) + 1)
        return died_alone(suspects, ticket, code)

    with (
        patch.object(ProcessStream, "on_death", count_death),
        patch.object(Suspects, "died_alone", count_alone),
    ):
        yield counted


def make_loader(data: al.Dataset, **options: Any) -> al.Loader:
    """Shuffled, in three processes, unless ``options`` say otherwise."""
    given: dict[str, Any] = {"decode": decode, "batch_size": BATCH_SIZE, "shuffle": True, "seed": 1, "drop_last": False}
    given |= {"use_multiprocessing": True, "workers": 3, "stall_timeout_s": 60}
    return al.Loader(data, **given | options)


def digest(batches: list[Batch]) -> Digest:
    """See `Digest`."""
    rows = []
    for batch in batches:
        content = hashlib.sha256(batch.sample_ids.tobytes())
        for part in batch[:2]:
            content.update(np.ascontiguousarray(part).tobytes())
        rows.append((tuple(batch.sample_ids.tolist()), content.hexdigest()))
    return rows


def check_whole(batches: list[Batch], n_samples: int = N_SAMPLES) -> None:
    """Every sample once, each with its own bytes and label."""
    ids = np.concatenate([batch.sample_ids for batch in batches])
    assert sorted(ids.tolist()) == list(range(n_samples)), "an epoch is not exactly once"
    for batch in batches:
        named = np.ascontiguousarray(batch[0][:, :8] - np.uint8(1)).view("<i8")[:, 0]
        assert np.array_equal(named, batch.sample_ids), "a slot holds another sample's bytes"
        assert np.array_equal(batch[1], batch.sample_ids), "a slot has another sample's label"


def read_under_fire(data: al.Dataset, killer: Killer, **options: Any) -> int:
    """Epochs until ``killer`` is done, each checked; in strict order against an undisturbed run. How many they were."""
    is_strict = options.get("order", "strict") == "strict"
    under_fire: dict[int, Digest] = {}
    epochs = 0
    with make_loader(data, **options) as loader, killer:
        while killer.kills_left > 0 or epochs == 0:
            batches = []
            for batch in loader.open_epoch(epochs % 3):
                batches.append(batch)
                killer.saw_batch()
            check_whole(batches, len(data))
            if is_strict:
                under_fire[epochs] = digest(batches)
            epochs += 1
    if is_strict:
        with make_loader(data, **options) as loader:
            expected = [digest(list(loader.open_epoch(number))) for number in range(min(epochs, 3))]
        for number, found in under_fire.items():
            assert found == expected[number % 3], f"epoch {number} differs from the undisturbed run"
    return epochs
