"""Loaders that go over to other workers while they are read, and what they gave."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

import aioloader as al
from tests.loader.deaths_decoders import body, plus_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from aioloader.monitor.changes import KnobChange
    from aioloader.monitor.timeline import Moment, Settings
    from aioloader.types import Batch

N_SAMPLES = 203
BATCH_SIZE = 8

Digest = tuple[int, int, tuple[int, ...], str]
"""Of a batch: epoch, step, sample ids, and a hash of all that it holds."""


def write_samples(folder: Path, n_samples: int = N_SAMPLES) -> list[tuple[str, int]]:
    """A file for each sample; returns (key, label) of each."""
    pairs = [(f"{index:04d}.bin", index) for index in range(n_samples)]
    for key, index in pairs:
        (folder / key).write_bytes(body(index))
    return pairs


def in_memory(n_samples: int = N_SAMPLES) -> al.Dataset:
    """The same without files."""
    store = al.MemoryStore({f"{index:04d}.bin": body(index) for index in range(n_samples)})
    return al.from_samples([(f"{index:04d}.bin", index) for index in range(n_samples)], store=store)


def noisy(decoded: Any, rng: np.random.Generator) -> Any:
    """A transform: what it adds must not depend on who calls it, or when."""
    return np.concatenate([decoded, rng.integers(0, 256, 8, np.uint8)])


def make_loader(data: al.Dataset, **options: Any) -> al.Loader:
    """Shuffled, in two threads, unless ``options`` say otherwise."""
    given: dict[str, Any] = {"decode": plus_one, "transform": noisy, "batch_size": BATCH_SIZE, "shuffle": True}
    given |= {"seed": 1, "drop_last": False, "workers": 2, "use_multiprocessing": False, "stall_timeout_s": 60}
    given |= {"concurrency": 8}
    return al.Loader(data, **given | options)


class Content:
    """In the place of the tuner: whatever is, may stay."""

    changes: Sequence[KnobChange] = ()

    def observe(self, moment: Moment, *, epoch: int, samples_left: int) -> Settings:
        return moment.settings

    def refused(self, reason: str) -> None:
        """Heard by `Switching`."""

    def went_back(self, threads: int, reason: str) -> None:
        """Not where the user chose."""


class Switching:
    """Asks a loader to go over to other workers, and hears what came of it."""

    def __init__(self, loader: al.Loader) -> None:
        self._session = loader._session
        self._session.job = replace(self._session.job, controller=Content())
        self._session.begin()
        self.switched: list[tuple[str, int]] = []
        self.refused: list[str] = []
        self._heard = threading.Condition()
        hand_over = self._session.hand_over
        hand_over.on_switched = lambda kind, workers: self._hear(self.switched, (kind, workers))
        hand_over.on_refused = lambda reason: self._hear(self.refused, reason)

    def let_go(self) -> None:
        """Keep the loader's memory no longer."""
        del self._session

    def _hear(self, answers: list[Any], answer: object) -> None:
        with self._heard:
            answers.append(answer)
            self._heard.notify_all()

    @property
    def is_under_way(self) -> bool:
        return self._session.hand_over.is_under_way

    def on_loop(self, call: Callable[..., object], *arguments: object) -> None:
        lease = self._session.holdings.lease
        assert lease is not None
        assert lease.post(call, *arguments)

    def ask(self, use_multiprocessing: bool, workers: int) -> None:
        self.on_loop(self._session.switch, use_multiprocessing, workers)

    def wait(self, answers: int, within_s: float = 30.0) -> None:
        """Until so many answers came."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.switched) + len(self.refused) >= answers, within_s)

    def ask_and_wait(self, use_multiprocessing: bool, workers: int) -> None:
        answers = len(self.switched) + len(self.refused)
        self.ask(use_multiprocessing, workers)
        self.wait(answers + 1)

    def wait_until_over(self, within_s: float = 30.0) -> None:
        """Until what the former workers had was let go; not while the consumer is to read on."""
        deadline = time.monotonic() + within_s
        while self.is_under_way:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def digest(batch: Batch) -> Digest:
    """See `Digest`."""
    content = hashlib.sha256(batch.sample_ids.tobytes() + batch.valid.tobytes())
    for part in batch:
        content.update(np.ascontiguousarray(part).tobytes())
    return batch.epoch, batch.step, tuple(batch.sample_ids.tolist()), content.hexdigest()


def read_switching(loader: al.Loader, seed: int, switches: int) -> tuple[list[Batch], Switching]:
    """Whole epochs until ``switches`` were made, each asked for at a random step; the consumer is now slow, now not."""
    random, switching, batches = Random(seed), Switching(loader), []
    for batch in loader.epochs(200):
        batches.append(copied(batch))
        if not switching.is_under_way and random.random() < 0.3:
            in_processes = loader._job.options.use_multiprocessing
            switching.ask(not in_processes or random.random() < 0.25, random.randint(1, 3))
        time.sleep(random.choice([0, 0, 0.002, 0.01]))
        if batch.step == loader.steps_per_epoch - 1 and len(switching.switched) >= switches:
            break
    return batches, switching


def copied(batch: Batch) -> Batch:
    """One that the ring does not hear of."""
    parts = tuple(np.array(part) for part in batch)
    return al.Batch.build(parts, sample_ids=batch.sample_ids, valid=batch.valid, epoch=batch.epoch, step=batch.step)


def check_whole(batches: Iterable[Batch], n_samples: int = N_SAMPLES) -> None:
    """In every epoch each sample once, with its own bytes and label, and steps in order."""
    seen: dict[int, list[int]] = {}
    steps: dict[int, list[int]] = {}
    for batch in batches:
        named = np.ascontiguousarray(batch[0][:, :8] - np.uint8(1)).view("<i8")[:, 0]
        assert np.array_equal(named[batch.valid], batch.sample_ids[batch.valid]), "a slot holds another sample's bytes"
        assert np.array_equal(batch[1][batch.valid], batch.sample_ids[batch.valid]), "a slot has another sample's label"
        seen.setdefault(batch.epoch, []).extend(batch.sample_ids.tolist())
        steps.setdefault(batch.epoch, []).append(batch.step)
    assert sorted(seen) == list(range(len(seen)))
    assert all(sorted(ids) == list(range(n_samples)) for ids in seen.values()), "an epoch is not exactly once"
    assert all(numbers == list(range(len(numbers))) for numbers in steps.values())
