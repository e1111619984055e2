"""Every ending of a stream leaves nothing: no request, no task, no thread, no descriptor (the hygiene fixture checks).

Tests that look at one ending in particular say what they wait for; the rest is `tests/conftest.py`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

import aioloader as al
from aioloader import errors
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread
from tests.loader.conftest import N_IMAGES, Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DECODE = al.ImageDecoder(size=(8, 8))


@pytest.fixture
def slow_bucket(image_root: Path) -> Iterator[Bucket]:
    """The images with half a second before each answer: whatever is asked for is in flight when a stream ends."""
    with serve_in_thread(image_root, Manners(latency_s=0.5)) as server:
        yield Bucket(server.url + "train/", server)


def until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait for ``condition``; collecting is part of what may make it true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        gc.collect()
        time.sleep(0.01)


def our_threads() -> list[str]:
    """The library's threads; the bucket's own runs beside."""
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith("aioloader") and name != "aioloader-serve"]


def listed_locally(bucket: Bucket, image_root: Path) -> al.Dataset:
    """The served images, listed from disk: a slow bucket's listing would only cost time."""
    return al.from_samples([(s.key, s.label) for s in al.image_folder(image_root / "train")], root=bucket.url)


def test_break_ends_the_requests_in_flight_within_a_second(slow_bucket: Bucket, image_root: Path) -> None:
    data = listed_locally(slow_bucket, image_root)
    with al.Loader(data, decode=DECODE, batch_size=4, concurrency=8) as loader:
        for _ in loader:
            break
        until(
            lambda: slow_bucket.server.statistics().in_flight == 0 and loader.stats().in_flight == 0,
            within_s=1.0,
            what="requests of the broken loop are still in flight",
        )
        asked = slow_bucket.image_gets()
        assert asked < N_IMAGES
        time.sleep(0.7)  # longer than the server takes to answer: a leftover fetcher would ask again
        assert slow_bucket.image_gets() == asked


def test_an_exception_in_the_loop_body_reaches_the_caller_and_ends_the_stream(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    loader = al.Loader(data, decode=DECODE, batch_size=4)

    def fail_in_the_loop_body() -> None:
        with loader:
            for _ in loader:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_loop_body()
    assert our_threads() == []
    assert sum(len(batch[0]) for batch in loader) == N_IMAGES  # a closed loader opens anew when it is used
    loader.close()
    assert our_threads() == []


def test_closing_ends_every_thread_before_it_returns(bucket: Bucket) -> None:
    loader = al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=4)
    next(iter(loader))
    loader.close()
    assert our_threads() == []
    loader.close()  # a second time changes nothing


def test_a_loader_that_is_collected_without_close_leaves_nothing(slow_bucket: Bucket, image_root: Path) -> None:
    loader = al.Loader(listed_locally(slow_bucket, image_root), decode=DECODE, batch_size=4)
    batches = iter(loader)
    next(batches)
    gone = weakref.ref(loader)
    del loader, batches
    until(lambda: gone() is None, within_s=1.0, what="something of ours keeps the loader alive")
    until(lambda: our_threads() == [], within_s=2.0, what="threads outlive the collected loader")


def test_an_iterator_collected_in_mid_epoch_ends_its_stream_only(slow_bucket: Bucket, image_root: Path) -> None:
    with al.Loader(listed_locally(slow_bucket, image_root), decode=DECODE, batch_size=4) as loader:
        batches = iter(loader)
        next(batches)
        del batches
        until(lambda: loader.stats().in_flight == 0, within_s=1.0, what="requests outlive their iterator")
        assert sum(len(batch[0]) for batch in loader.open_epoch(0)) == N_IMAGES


def test_a_loop_over_a_temporary_loader_reads_the_whole_epoch(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    assert sum(len(images) for images, _ in al.Loader(data, decode=DECODE, batch_size=4)) == N_IMAGES


def test_a_second_iterator_replaces_the_first(bucket: Bucket) -> None:
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=4) as loader:
        first = iter(loader)
        next(first)
        second = iter(loader)
        assert next(second).step == 0
        with pytest.raises(errors.StreamReplacedError, match="epoch 0"):
            next(first)
        assert next(first, None) is None
        assert sum(1 for _ in second) == 12  # and the second one is not disturbed


def test_closing_an_iterator_ends_it_and_the_next_epoch_is_whole(bucket: Bucket) -> None:
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=4) as loader:
        first = iter(loader)
        next(first)
        first.close()
        first.close()
        assert next(first, None) is None
        batches = list(loader)
        assert {batch.epoch for batch in batches} == {1}
        assert sum(len(batch[0]) for batch in batches) == N_IMAGES


def test_closing_from_another_thread_wakes_the_waiting_consumer(slow_bucket: Bucket, image_root: Path) -> None:
    loader = al.Loader(listed_locally(slow_bucket, image_root), decode=DECODE, batch_size=N_IMAGES, concurrency=1)
    threading.Timer(0.2, loader.close).start()
    with pytest.raises(errors.LoaderClosedError):
        next(iter(loader))


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_a_cancelled_wait_loses_no_batch(slow_bucket: Bucket, image_root: Path) -> None:
    data = await asyncio.to_thread(listed_locally, slow_bucket, image_root)
    async with al.AsyncLoader(data, decode=DECODE, batch_size=17) as loader:
        batches = aiter(loader)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(batches), 0.05)
        assert [batch.step async for batch in batches] == [0, 1, 2]


@pytest.mark.blocks(reason="making a loader reads /proc and control group files: microseconds, no disk")
async def test_leaving_async_for_early_ends_the_requests(slow_bucket: Bucket, image_root: Path) -> None:
    data = await asyncio.to_thread(listed_locally, slow_bucket, image_root)
    async with al.AsyncLoader(data, decode=DECODE, batch_size=4, concurrency=8) as batches:
        async for _ in batches:
            break
        await asyncio.to_thread(
            until, lambda: batches.stats().in_flight == 0, within_s=1.0, what="requests outlive the loop"
        )


def test_a_decoder_that_never_returns_is_abandoned_and_named(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def stuck(data: bytes) -> np.ndarray:
        release.wait()
        return np.zeros(1)

    loader = al.Loader(
        al.image_folder(bucket.url), decode=stuck, batch_size=4, workers=1, stall_timeout_s=0.3, close_timeout_s=0.2
    )
    try:
        with pytest.raises(errors.StalledError, match=r"stall_timeout_s=0\.3.*bild 00.*decode"):
            next(iter(loader))
        with caplog.at_level(logging.WARNING):
            loader.close()
        assert "aioloader-decode-0 is still in a decoder" in caplog.text
    finally:
        release.set()


def test_a_store_that_never_answers_is_a_stall_that_names_what_was_in_flight() -> None:
    class Silent(al.MemoryStore):
        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

    data = al.from_samples([(f"{i}.bin", i) for i in range(8)], store=Silent())
    with (
        al.Loader(data, decode=al.RawDecoder(), stall_timeout_s=0.2) as loader,
        pytest.raises(errors.StalledError, match=r"8 in flight, the oldest: 0\.bin \(fetch, 0\.\d s\)"),
    ):
        next(iter(loader))


def test_a_stall_says_at_which_attempt_a_request_is() -> None:
    class FailsThenSilent(al.MemoryStore):
        asked: ClassVar[set[str]] = set()

        async def get(self, key: str, byte_range: tuple[int, int] | None = None) -> bytes:
            if key in self.asked:
                await asyncio.Event().wait()
            self.asked.add(key)
            raise errors.TruncatedBodyError("the body was cut", key)

    data = al.from_samples([("0.bin", 0)], store=FailsThenSilent())
    with (
        al.Loader(data, decode=al.RawDecoder(), stall_timeout_s=0.5) as loader,
        pytest.raises(errors.StalledError, match=r"0\.bin \(fetch, [01]\.\d s, attempt 2\)"),
    ):
        next(iter(loader))


def run_script(script: str, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.fault(row=30, stores=("http",))
@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(3)", "next(iter(loader.open_epoch()))"])
def test_an_interpreter_that_exits_without_close_exits_cleanly(bucket: Bucket, ending: str) -> None:
    done = run_script(
        f"""
        import sys
        import aioloader as al
        loader = al.Loader(al.image_folder(sys.argv[1]), decode=al.ImageDecoder(size=(8, 8)), batch_size=4)
        batches = iter(loader)
        print(len(next(batches)[0]))
        {ending}
        """,
        bucket.url,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3 if "3" in ending else 0, "4\n", "")


def test_an_uncaught_error_in_a_script_prints_its_sentence_and_exits(bucket: Bucket) -> None:
    done = run_script(
        """
        import sys
        import aioloader as al
        data = al.from_samples([("ants/nowhere.png", 0)], root=sys.argv[1])
        for images, labels in al.Loader(data, decode=al.ImageDecoder(size=(8, 8))):
            pass
        """,
        bucket.url,
    )
    assert done.returncode == 1
    assert "ObjectNotFoundError: sample 0 (" in done.stderr.splitlines()[-1]


@pytest.mark.fault(row=30, stores=("local",))
def test_ctrl_c_during_a_wait_ends_the_process_with_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"  # of a file the traceback shows the lines
    script.write_text(
        textwrap.dedent("""
            import asyncio
            import aioloader as al

            class Silent(al.MemoryStore):
                async def get(self, key, byte_range=None):
                    print("waiting", flush=True)
                    await asyncio.Event().wait()

            data = al.from_samples(["a.bin"], store=Silent())
            for batch in al.Loader(data, decode=al.RawDecoder()):  # the user's line
                pass
        """)
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "waiting\n"
            child.send_signal(signal.SIGINT)
            _, stderr = child.communicate(timeout=20)  # promised: 2 s
        finally:
            child.kill()
    assert "for batch in al.Loader(data, decode=al.RawDecoder()):  # the user's line\n" in stderr
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode == -signal.SIGINT


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_make_its_own_loader(bucket: Bucket) -> None:
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=4) as loader:
        next(iter(loader))
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                next(iter(loader))
                os.write(writer, b"no error")
            except errors.LoaderClosedError as exc:
                os.write(writer, str(exc).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert b"does not work in a forked child" in pipe.read()
        assert sum(len(batch[0]) for batch in loader) == N_IMAGES


def test_a_loader_is_not_pickled_and_says_why(bucket: Bucket) -> None:
    import pickle

    with (
        al.Loader(al.image_folder(bucket.url), decode=DECODE) as loader,
        pytest.raises(TypeError, match="create it in the process that uses it"),
    ):
        pickle.dumps(loader)


def test_fifty_epochs_leave_threads_descriptors_and_slabs_where_they_were(bucket: Bucket) -> None:
    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=DECODE, batch_size=8, shuffle=True, seed=0, concurrency=4) as loader:
        for batch in loader.epochs(3):
            del batch
        before = (our_threads(), len(list(Path("/proc/self/fd").iterdir())))
        for batch in loader.epochs(50):
            del batch
        after = (our_threads(), len(list(Path("/proc/self/fd").iterdir())))
        assert after[0] == before[0]
        assert after[1] <= before[1] + 2 * 4  # both ends of each connection are in this process
        assert loader.stats().slab_bytes <= loader.memory_bound()


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_loader_whose_decoder_is_its_owners_method_is_collected(bucket: Bucket, epochs: int) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.loader = al.Loader(al.image_folder(bucket.url), decode=self.decode, batch_size=8)

        def decode(self, data: bytes) -> np.ndarray:
            return np.frombuffer(data[:8], np.uint8)

    trainer = Trainer()
    gone = weakref.ref(trainer.loader)
    for _ in range(epochs):
        for _ in trainer.loader:
            pass
    del trainer
    until(lambda: gone() is None and our_threads() == [], within_s=2.0, what="the loader is never collected")


def test_closing_one_loader_leaves_another_folder_of_the_same_store_alone(bucket: Bucket) -> None:
    closed = []

    class Counting(al.MemoryStore):
        async def aclose(self) -> None:
            closed.append(1)

    store = Counting({f"{part}/{i}.bin": b"x" for part in ("train", "val") for i in range(8)})
    train, val = (al.from_samples([f"{i}.bin" for i in range(8)], root=part, store=store) for part in ("train", "val"))
    with al.Loader(train, decode=al.RawDecoder(), batch_size=2) as loader:
        batches = iter(loader)
        next(batches)
        with al.Loader(val, decode=al.RawDecoder(), batch_size=2) as other:
            assert sum(1 for _ in other) == 4
        assert closed == []
        assert sum(1 for _ in batches) == 3
    assert closed == [1]


def test_a_stuck_decoder_of_a_closed_loader_does_not_starve_the_others(bucket: Bucket) -> None:
    release = threading.Event()

    def stuck(data: bytes) -> np.ndarray:
        release.wait()
        return np.zeros(1)

    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=DECODE, batch_size=8, workers=1) as healthy:
        next(iter(healthy))
        broken = al.Loader(data, decode=stuck, batch_size=8, workers=1, stall_timeout_s=0.2, close_timeout_s=0.2)
        try:
            with pytest.raises(errors.StalledError):
                next(iter(broken))
            broken.close()
            assert sum(len(batch[0]) for batch in healthy) == N_IMAGES
        finally:
            release.set()


def test_what_a_decoders_sub_task_does_ends_neither_the_loop_nor_a_neighbour(bucket: Bucket) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def exits(data: bytes) -> np.ndarray:
        await asyncio.gather(leave())
        raise AssertionError

    async def cancels_itself(data: bytes) -> np.ndarray:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError

    data = al.image_folder(bucket.url)
    with al.Loader(data, decode=DECODE, batch_size=8) as neighbour:
        for decode, name in ((exits, "SystemExit"), (cancels_itself, "CancelledError")):
            with (
                al.Loader(data, decode=decode, batch_size=8) as loader,
                pytest.raises(errors.DecodeError, match=f"sample 0 .*{name}"),
            ):
                next(iter(loader))
            assert sum(len(batch[0]) for batch in neighbour) == N_IMAGES


def test_a_suspended_process_has_not_stalled(bucket: Bucket) -> None:
    script = """
        import asyncio, sys, threading
        import aioloader as al

        class Slow(al.MemoryStore):
            async def get(self, key, byte_range=None):
                print("reading", flush=True)
                await asyncio.sleep(0.6)
                return b"x"

        data = al.from_samples(["a.bin"], store=Slow())
        print(len(next(iter(al.Loader(data, decode=al.RawDecoder(), stall_timeout_s=1.5)))))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(2.5)  # longer than the limit
        child.send_signal(signal.SIGCONT)
        stdout, stderr = child.communicate(timeout=30)
    assert (child.returncode, stdout, stderr) == (0, "1\n", "")


def test_an_iterator_dropped_unread_does_not_close_the_next_one_of_its_epoch(bucket: Bucket) -> None:
    with al.Loader(al.image_folder(bucket.url), decode=DECODE, batch_size=8) as loader:
        for _ in range(10):
            dropped = loader.open_epoch(0)
            del dropped
            assert sum(len(batch[0]) for batch in loader.open_epoch(0)) == N_IMAGES


@pytest.mark.parametrize("how", ["used again", "another loader", "collected"])
def test_a_decode_that_hung_once_starves_nobody_though_its_loader_was_not_closed(bucket: Bucket, how: str) -> None:
    release, hung = threading.Event(), threading.Event()

    def hangs_once(data: bytes) -> np.ndarray:
        if not hung.is_set():
            hung.set()
            release.wait()
        return np.zeros(1)

    data = al.image_folder(bucket.url)
    options: dict[str, Any] = {"batch_size": 8, "workers": 1, "close_timeout_s": 0.2}
    try:
        with al.Loader(data, decode=DECODE, stall_timeout_s=10, **options) as healthy:
            next(iter(healthy))
            broken = al.Loader(data, decode=hangs_once, stall_timeout_s=0.5, **options)
            if how == "collected":
                batches = iter(broken)
                assert hung.wait(5)
                del batches, broken
                assert sum(len(batch[0]) for batch in healthy) == N_IMAGES
                return
            with pytest.raises(errors.StalledError):
                next(iter(broken))
            assert sum(len(batch[0]) for batch in (broken if how == "used again" else healthy)) == N_IMAGES
            broken.close()
    finally:
        release.set()
