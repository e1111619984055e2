"""What worker processes promise beside speed, each a case that once broke it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import types
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import worker_pids

if TYPE_CHECKING:
    from pathlib import Path


def numbered(count: int, nbytes: int = 8) -> al.Dataset:
    """Objects that hold their own number, ``nbytes`` long."""
    store = al.MemoryStore({f"{n:04d}": n.to_bytes(8, "little") + bytes(nbytes - 8) for n in range(count)})
    return al.from_samples([(f"{n:04d}", n) for n in range(count)], store=store)


class PutsAnotherArray:
    """Every fifth time it puts an array of its own into ``out``, as a careless branch would."""

    needs_rng = False

    def spec(self) -> dict[str, al.FieldSpec]:
        return {"x": al.FieldSpec((2,), np.dtype("int64"))}

    def decode(self, data: bytes, sample: al.SampleRef, rng: Any = None, out: Any = None) -> Any:
        number = int.from_bytes(data[:8], "little")
        if out is None:
            return {"x": np.array([number, -number])}
        if number % 5 == 1:
            out["x"] = np.array([number, -number])
        else:
            out["x"][...] = number, -number
        return out


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_decoder_that_puts_another_array_into_out_delivers_it(*, use_multiprocessing: bool) -> None:
    with al.Loader(
        numbered(200), decode=PutsAnotherArray(), batch_size=4, use_multiprocessing=use_multiprocessing, workers=2
    ) as loader:
        for batch in loader:
            assert batch[0]["x"][:, 0].tolist() == batch.sample_ids.tolist()
            assert batch[0]["x"][:, 1].tolist() == (-batch.sample_ids).tolist()


@pytest.mark.parametrize("order", ["strict", "window"])
def test_a_death_while_all_bytes_are_held_by_later_batches(order: Any) -> None:
    options: dict[str, Any] = {"batch_size": 4, "workers": 2, "concurrency": 64, "max_queue_size": 2}
    with al.Loader(
        numbered(300, 10_000),
        decode=al.RawDecoder(shape=(10_000,)),
        max_memory=1_600_000,
        use_multiprocessing=True,
        stall_timeout_s=15,
        order=order,
        **options,
    ) as loader:
        batches, seen = iter(loader), []
        for _ in range(6):
            seen += next(batches).sample_ids.tolist()
        time.sleep(0.5)  # until both hold all the bytes they may
        os.kill(max(worker_pids()), signal.SIGKILL)
        for batch in batches:
            seen += batch.sample_ids.tolist()
        assert sorted(seen) == list(range(300))


def slowly(data: bytes) -> np.ndarray[Any, Any]:
    time.sleep(0.4)
    return np.zeros(2)


def test_a_batch_that_takes_longer_than_the_stall_timeout_is_no_stall() -> None:
    with al.Loader(
        numbered(12), decode=slowly, batch_size=12, workers=1, use_multiprocessing=True, stall_timeout_s=2
    ) as loader:
        assert len(list(loader)) == 1


def test_a_decoder_that_cannot_be_loaded_is_named_each_time() -> None:
    module = types.ModuleType("only_here")
    exec("import numpy\ndef decode(data): return numpy.zeros(4)", module.__dict__)
    module.decode.__module__ = "only_here"
    module.__spec__ = ModuleSpec("only_here", None)
    sys.modules["only_here"] = module
    try:
        with al.Loader(
            numbered(16), decode=module.decode, batch_size=4, workers=1, use_multiprocessing=True, stall_timeout_s=20
        ) as loader:
            for _ in range(2):
                with pytest.raises(al.errors.OptionError, match="cannot be loaded in a worker process"):
                    list(loader)
    finally:
        del sys.modules["only_here"]


def load_for_an_hour() -> SlowToLoad:
    time.sleep(3600)
    return SlowToLoad()


class SlowToLoad:
    """Takes an hour to come up in a worker process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return load_for_an_hour, ()

    def __call__(self, data: bytes) -> Any:
        return np.zeros(2)


def test_closing_many_processes_that_are_still_loading_takes_a_second_for_all() -> None:
    loader = al.Loader(
        numbered(64), decode=SlowToLoad(), batch_size=4, workers=12, use_multiprocessing=True, close_timeout_s=0.5
    )
    iter(loader)
    deadline = time.monotonic() + 30
    while len(worker_pids()) < 12:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)  # for some to be inside of it
    began = time.monotonic()
    loader.close()
    while worker_pids():  # killed, and on a busy machine not yet gone
        assert time.monotonic() - began < 10, worker_pids()
        time.sleep(0.01)
    assert time.monotonic() - began < 10


def test_a_working_directory_that_was_deleted_is_no_matter(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = textwrap.dedent("""
        import os, sys
        os.rmdir(os.getcwd())
        import aioloader as al
        store = al.MemoryStore({str(n): bytes(10) for n in range(16)})
        data = al.from_samples([(str(n), n) for n in range(16)], store=store)
        with al.Loader(data, decode=al.RawDecoder(shape=(10,)), batch_size=4, use_multiprocessing=True) as loader:
            print(sum(len(batch.sample_ids) for batch in loader))
    """)
    path = tmp_path / "script.py"
    path.write_text(script)
    root = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, str(path)], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    assert done.stdout.strip() == "16", done.stderr


@pytest.mark.parametrize(("workers", "concurrency", "batch_size"), [(8, 1, 64), (8, 2, 256)])
def test_where_nothing_comes_the_first_sample_is_named(workers: int, concurrency: int, batch_size: int) -> None:
    data = al.from_samples([(f"{n:04d}", n) for n in range(600)], store=al.MemoryStore())
    with (
        al.Loader(
            data,
            decode=al.RawDecoder(shape=(8,)),
            batch_size=batch_size,
            workers=workers,
            concurrency=concurrency,
            use_multiprocessing=True,
            stall_timeout_s=20,
        ) as loader,
        pytest.raises(al.errors.ObjectNotFoundError) as caught,
    ):
        list(loader)
    assert caught.value.sample_id == 0
