"""Small image folders, a bucket that serves them, and what a test needs to read a loader's batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from PIL import Image

import aioloader as al
from aioloader.serve.thread import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aioloader.serve.bucket import LocalBucket

CLASSES = ("ants", "bees", "wasps & co")
PER_CLASS = 17
N_IMAGES = len(CLASSES) * PER_CLASS


def worker_pids() -> set[int]:
    """The worker processes of this process that run."""
    pids = set()
    for child in psutil.Process().children():
        try:
            if any(word.endswith("child.py") for word in child.cmdline()):
                pids.add(child.pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return pids


ASKED_ONCE = al.Retry(hedge_share=0)
"""For tests that count requests: a late one is not made twice."""


@dataclass(frozen=True)
class Bucket:
    """A served folder of images: ``url`` of the images, and the server that counts."""

    url: str
    server: LocalBucket

    def image_gets(self) -> int:
        """GETs of image files so far; listings not counted."""
        return sum(n for (method, key), n in self.server.requests.items() if method == "GET" and key.endswith(".png"))


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train/CLASS/NN.png``: 51 images of 12x10 noise in three classes, names with spaces and an umlaut."""
    root = tmp_path_factory.mktemp("bucket")
    noise = np.random.default_rng(7)
    for name in CLASSES:
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for index in range(PER_CLASS):
            pixels = noise.integers(0, 256, (12, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"bild {index:02d} ü%41.png")
    return root


@pytest.fixture
def bucket(image_root: Path) -> Iterator[Bucket]:
    """The images over HTTP, without latency."""
    with serve_in_thread(image_root) as server:
        yield Bucket(server.url + "train/", server)


@pytest.fixture(scope="module")
def warm_processes() -> Iterator[set[int]]:
    """Three worker processes, and as many decode threads, that run on between a module's tests: starting costs most."""
    data = al.from_samples(["a"], store=al.MemoryStore({"a": b"a"}))
    with (
        al.Loader(data, decode=al.RawDecoder(), use_multiprocessing=True, workers=3) as loader,
        al.Loader(data, decode=lambda body: len(body), workers=3) as in_threads,
    ):
        next(iter(loader))
        next(iter(in_threads))
        deadline = time.monotonic() + 30
        while len(pids := worker_pids()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        yield pids
