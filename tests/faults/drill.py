"""Epochs against a server that does wrong: what they read, and whether all of it came once."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import aioloader as al
from tests.faults.own_loop import on_own_loop

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    from aioloader.testing import FaultServer
    from aioloader.types import Store

QUICK = al.Retry(base_s=0.005, throttled_base_s=0.01)
PASSING = ("reset", "cut", "stall", "silent", "status", "throttle", "extra bytes")


@dataclass(frozen=True)
class Via:
    """A way to the server: which store, by which HTTP client."""

    store: str
    transport: str

    @property
    def prefix(self) -> str:
        """What the server's keys begin with."""
        return "acct/data/" if self.store == "azure" else "data/"

    def at(self, url: str, **options: Any) -> Store:
        """The store at the server's ``url``."""
        base = url.rstrip("/")
        limits: dict[str, Any] = {"idle_timeout_s": 0.4} | options
        match self.store:
            case "http":
                return al.HTTPStore(transport=self.transport, **limits).at(url + self.prefix)
            case "s3":
                keys: dict[str, Any] = {
                    "access_key_id": "test-id",
                    "secret_access_key": "test-secret",
                    "region": "us-east-1",
                }
                return al.S3Store(endpoint=base, transport=self.transport, **keys, **limits).at("s3://data/")
            case "gcs":
                return al.GCSStore(endpoint=base, anonymous=True, **limits).at("gs://data/")
            case _:
                sas = "sv=2026-01-01&sig=test"
                return al.AzureStore(account="acct", sas_token=sas, endpoint=f"{base}/acct", **limits).at("az://data/")

    def __str__(self) -> str:
        return f"{self.store} {self.transport}".strip()


HTTP = (Via("http", "aiohttp"), Via("http", "fast"))
S3 = (Via("s3", "aiohttp"), Via("s3", "fast"))
CLOUDS = (Via("gcs", ""), Via("azure", ""))


class Serving:
    """A `FaultServer` that runs on a loop of its own thread."""

    def __init__(self, server: FaultServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do ``work`` on the server's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@contextmanager
def running(server: FaultServer) -> Iterator[Serving]:
    """``server`` on a loop of its own."""
    with on_own_loop(server) as loop:
        yield Serving(server, loop)


@contextmanager
def serving(server: FaultServer) -> Iterator[FaultServer]:
    """As `running`, for who only asks."""
    with running(server):
        yield server


def bodies(seed: int, count: int = 150, sizes: tuple[int, ...] = (0, 100, 5000, 200_000)) -> dict[str, bytes]:
    """Objects of 4 bytes to 200 kB; the first four bytes tell which it is."""
    draw = random.Random(seed)
    return {f"{index:04d}.bin": index.to_bytes(4, "big") + draw.randbytes(draw.choice(sizes))
            for index in range(count)}  # fmt: skip


def below(prefix: str, objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """The objects as the server knows them."""
    return {prefix + key: body for key, body in objects.items()}


def number_and_sum(data: bytes) -> np.ndarray[Any, Any]:
    """int64 ``(2,)``: which sample it is, and the sum of its bytes."""
    return np.array([int.from_bytes(data[:4], "big"), sum(data)])


def loader_of(store: Store, objects: Mapping[str, bytes], **options: Any) -> al.Loader:
    """A loader of all ``objects`` from ``store``."""
    data = al.from_samples([(key, index) for index, key in enumerate(objects)], store=store)
    given: dict[str, Any] = {"batch_size": 8, "shuffle": True, "seed": 1, "drop_last": False, "retry": QUICK}
    return al.Loader(data, decode=number_and_sum, **given | options)


def check_exact(loader: al.Loader, objects: Mapping[str, bytes]) -> None:
    """Read an epoch: every sample came once, with the sum of its own bytes."""
    rows, ids = [], []
    for batch in loader:
        rows += batch[0].tolist()
        ids += batch.sample_ids.tolist()
    assert sorted(ids) == list(range(len(objects)))
    assert sorted(rows) == [[index, sum(body)] for index, body in enumerate(objects.values())]
