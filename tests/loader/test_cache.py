"""Epochs through a cache: what is there is not fetched again, in threads and in worker processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from aioloader.serve.thread import serve_in_thread
from tests.conftest import DESCRIPTORS
from tests.storage.cache_rig import bodies, entry_files, taken, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aioloader.monitor.stats import CacheCounts
    from aioloader.serve.bucket import LocalBucket

N = 120
NBYTES = 8000
ON_DISK = 8192
OBJECTS = bodies(N, NBYTES)
SUMS = {index: sum(body) for index, body in enumerate(OBJECTS.values())}

in_both = pytest.mark.parametrize("use_multiprocessing", [False, True], ids=["threads", "processes"])


@contextmanager
def served(folder: Path) -> Iterator[LocalBucket]:
    folder.mkdir()
    for key, body in OBJECTS.items():
        (folder / key).write_bytes(body)
    with serve_in_thread(folder) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalBucket]:
    with served(tmp_path / "bucket") as server:
        yield server


def number_and_sum(data: bytes, sample: al.SampleRef) -> np.ndarray[Any, Any]:
    """int64 ``(2,)``: which sample it is, and the sum of its bytes."""
    return np.array([sample.index, sum(data)])


def dataset(server: LocalBucket) -> al.Dataset:
    return al.from_samples([(key, 0) for key in OBJECTS], root=server.url)


def loader(server: LocalBucket, path: Path, **options: Any) -> al.Loader:
    given: dict[str, Any] = {"batch_size": 8, "shuffle": True, "seed": 1, "drop_last": False, "workers": 2}
    given["retry"] = al.Retry(hedge_share=0)  # requests are counted
    return al.Loader(dataset(server), decode=number_and_sum, cache=path, **given | {"cache_size": "50MB"} | options)


def async_loader(server: LocalBucket, path: Path) -> al.AsyncLoader:
    """Made in a thread: it reads what memory the machine has."""
    options: dict[str, Any] = {"batch_size": 8, "cache_size": "50MB", "retry": al.Retry(hedge_share=0)}
    return al.AsyncLoader(dataset(server), decode=number_and_sum, cache=path, **options)


def check_epoch(loader: al.Loader) -> None:
    """Every sample once, with its own bytes."""
    epoch = loader.open_epoch(epochs_ahead=0)
    rows = np.concatenate([batch[0].copy() for batch in epoch])
    assert sorted(rows.tolist()) == [list(pair) for pair in SUMS.items()]


def gets(server: LocalBucket) -> int:
    return sum(count for (method, key), count in server.requests.items() if method == "GET" and key.endswith(".bin"))


def settled(loader: al.Loader, condition: Callable[[CacheCounts], bool]) -> CacheCounts:
    """The counts once it holds: what is written behind a sample's back is counted when it is."""
    deadline_s = time.monotonic() + 20
    while not condition(counts := loader.stats().cache):
        assert time.monotonic() < deadline_s, counts
        time.sleep(0.02)
    return counts


@in_both
def test_what_fits_is_fetched_once(server: LocalBucket, tmp_path: Path, *, use_multiprocessing: bool) -> None:
    with loader(server, tmp_path / "cache", use_multiprocessing=use_multiprocessing) as epochs:
        check_epoch(epochs)
        settled(epochs, lambda counts: counts.written == N)
        assert gets(server) == N
        for _ in range(2):
            check_epoch(epochs)
        counts = settled(epochs, lambda counts: counts.hits == 2 * N)
        assert (gets(server), counts.misses, counts.bad, counts.stopped) == (N, N, 0, 0)
        assert counts.hit_bytes == 2 * N * NBYTES
        assert epochs.stats().engine.requests.retries == 0
        report = epochs.report()
    assert "cache        67% of 360 look-ups found (1.9 MB), 120 written; of the next epoch about 100%" in report
    assert f"cache={tmp_path / 'cache'}, cache_size=50.0 MB" in report


@in_both
def test_of_what_does_not_fit_a_part_is_fetched_once(
    server: LocalBucket, tmp_path: Path, *, use_multiprocessing: bool
) -> None:
    """A bound for 0.3 of the samples: as many come from disk in each later epoch, whatever the order."""
    with loader(
        server, tmp_path / "cache", cache_size=int(0.3 * N) * ON_DISK, use_multiprocessing=use_multiprocessing
    ) as epochs:
        check_epoch(epochs)
        written = int(0.3 * N)
        settled(epochs, lambda counts: counts.stopped == -1 and counts.written == written)
        for number in range(1, 4):
            check_epoch(epochs)
            assert gets(server) == N + number * (N - written)
        counts = settled(epochs, lambda counts: counts.hits == 3 * written)
        assert counts.written == written == len(entry_files(tmp_path / "cache"))
        assert f"of the next epoch about {written / N:.0%}; full" in epochs.report()


@in_both
def test_another_run_finds_what_the_first_left(
    server: LocalBucket, tmp_path: Path, *, use_multiprocessing: bool
) -> None:
    with loader(server, tmp_path / "cache") as first:
        check_epoch(first)
    with loader(server, tmp_path / "cache", use_multiprocessing=use_multiprocessing, seed=2) as second:
        check_epoch(second)
    assert gets(server) == N


async def test_an_async_loader_has_it_too(server: LocalBucket, tmp_path: Path) -> None:
    async with await asyncio.to_thread(async_loader, server, tmp_path / "cache") as batches:
        for _ in range(2):
            rows = np.concatenate([batch[0].copy() async for batch in batches.open_epoch()])
            assert sorted(rows.tolist()) == [list(pair) for pair in SUMS.items()]
            await until(lambda: batches.stats().cache.written == N)
    assert batches.stats().cache.hits == N
    assert gets(server) == N


async def test_an_async_loader_says_of_its_directory_when_it_is_first_needed(
    server: LocalBucket, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    async with await asyncio.to_thread(async_loader, server, tmp_path / "file") as batches:
        with pytest.raises(al.errors.OptionError, match=r"cache=.*this is a file"):
            await anext(aiter(batches))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache": 3}, r"cache=3: expected a directory"),
        ({"cache": "https://host/cache"}, r"cache='https://host/cache': expected a directory"),
        ({"cache": "here", "cache_size": "much"}, r"cache_size='much': expected bytes"),
        ({"cache": None, "cache_size": "1GB"}, r"cache_size='1GB': expected cache=.* beside it"),
    ],
)
def test_a_wrong_option_is_said_when_the_loader_is_made(
    server: LocalBucket, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(al.errors.OptionError, match=words):
        al.Loader(dataset(server), decode=number_and_sum, **options)


def test_a_directory_that_others_may_write_to_is_said_when_the_loader_is_made(
    server: LocalBucket, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(al.errors.OptionError, match="only you may write to: chmod go-w"):
        loader(server, tmp_path / "cache")
    with pytest.raises(al.errors.OptionError, match=r"cache='/proc/.*': expected .*the system says No such file"):
        loader(server, tmp_path.joinpath("/proc/nowhere/cache"))


def test_files_of_this_machine_are_not_kept_twice(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    data = al.from_samples([("a.bin", 0)], root=str(tmp_path))
    with al.Loader(data, decode=number_and_sum, cache=tmp_path / "cache") as epochs:
        list(epochs)
        assert f"cache=not used: file://{tmp_path}/ is on this machine" in epochs.report()
        assert epochs.stats().cache.lookups == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.fault(row=28, stores=("http",))
@in_both
def test_a_cache_that_is_spoilt_between_epochs_gives_no_wrong_byte(
    server: LocalBucket, tmp_path: Path, *, use_multiprocessing: bool
) -> None:
    with loader(server, tmp_path / "cache", use_multiprocessing=use_multiprocessing) as epochs:
        check_epoch(epochs)
        settled(epochs, lambda counts: counts.written == N)
        files = entry_files(tmp_path / "cache")
        for number, file in enumerate(files[:30]):
            content = bytearray(file.read_bytes())
            content[number * 97 % len(content)] ^= 1
            file.write_bytes(bytes(content) if number % 3 else bytes(len(content)))
        check_epoch(epochs)
        settled(epochs, lambda counts: counts.bad == 30 and counts.written == N + 30)
        assert gets(server) == N + 30
        check_epoch(epochs)
        settled(epochs, lambda counts: counts.hits == 2 * N - 30)
        assert "30 spoilt, fetched again" in epochs.report()


def test_a_cache_that_is_removed_under_a_run_is_done_without(
    server: LocalBucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with loader(server, tmp_path / "cache") as epochs:
        check_epoch(epochs)
        settled(epochs, lambda counts: counts.written == N)
        shutil.rmtree(tmp_path / "cache")
        check_epoch(epochs)
        settled(epochs, lambda counts: counts.stopped != 0)
        check_epoch(epochs)
        assert gets(server) == 3 * N
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_many_epochs_and_loaders_leave_nothing_open(server: LocalBucket, tmp_path: Path) -> None:
    def descriptors() -> int:
        found = 0
        for link in list(DESCRIPTORS.iterdir()):
            with contextlib.suppress(OSError):
                found += str(link.readlink()).startswith(str(tmp_path / "cache"))
        return found

    for _ in range(3):
        with loader(server, tmp_path / "cache", cache_size="400kB") as epochs:
            for _ in range(5):
                check_epoch(epochs)
            settled(epochs, lambda counts: counts.stopped == -1)
            assert descriptors() == 5
        assert descriptors() == 0
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_training_and_validation_share_one_cache(server: LocalBucket, tmp_path: Path) -> None:
    with loader(server, tmp_path / "cache") as train, loader(server, tmp_path / "cache", seed=5) as val:
        check_epoch(train)
        settled(train, lambda counts: counts.written == N)
        check_epoch(val)
        assert val.stats().cache.hits == N
        assert train.stats().cache.hits == 0
        assert gets(server) == N


RUN = """
import sys
import aioloader as al
from tests.loader.test_cache import N, OBJECTS, SUMS, number_and_sum
data = al.from_samples([(key, 0) for key in OBJECTS], root=sys.argv[1])
with al.Loader(data, decode=number_and_sum, batch_size=8, shuffle=True, seed=int(sys.argv[3]), drop_last=False,
               workers=2, use_multiprocessing=sys.argv[3] == "3", cache=sys.argv[2], cache_size=500_000) as loader:
    for _ in range(4):
        rows = sorted(row for batch in loader for row in batch[0].tolist())
        assert rows == [list(pair) for pair in SUMS.items()], "wrong bytes"
    assert loader.stats().cache.bad == 0
    assert loader.stats().cache.hits > 0
"""


@pytest.mark.fault(row=29, stores=("http",))
def test_processes_that_share_a_cache_finish_with_the_right_bytes_and_keep_its_bound(
    server: LocalBucket, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with contextlib.ExitStack() as stack:
        runs = []
        for seed in range(4):
            command = [sys.executable, "-c", RUN, server.url, str(cache), str(seed)]
            runs.append(stack.enter_context(subprocess.Popen(command, env=environment)))
            stack.callback(runs[-1].kill)
        assert [run.wait(60) for run in runs] == [0] * 4
    assert 490_000 < taken(cache) <= 500_000 + 4096  # what tells of the bound
    assert gets(server) < 4 * 4 * N


def test_the_bound_on_memory_counts_what_waits_to_be_written(server: LocalBucket, tmp_path: Path) -> None:
    with (
        loader(server, tmp_path / "cache") as with_cache,
        al.Loader(dataset(server), decode=number_and_sum, batch_size=8, workers=2) as without,
    ):
        next(iter(with_cache))
        next(iter(without))
        assert with_cache.memory_bound() == without.memory_bound() + 64_000_000
