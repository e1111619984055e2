"""``order="window"`` and ``"any"``, in threads and in processes: each sample once, and none waits for another."""

from __future__ import annotations

import http.server
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aioloader as al
from tests.loader.conftest import ASKED_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("warm_processes")

N = 100
HELD = 3
"""The sample whose answer waits for an event; not the first, which sets the fields."""

EVERYWHERE = pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])
ORDERS = pytest.mark.parametrize("order", ["window", "any"])


def decode(data: bytes, sample: al.SampleRef) -> tuple[np.ndarray, int]:
    return np.full(4, int(data), np.int32), sample.index


def numbered() -> al.Dataset:
    store = al.MemoryStore({f"{i:03}": str(i).encode() for i in range(N)})
    return al.from_samples([(f"{i:03}", i) for i in range(N)], store=store)


class HoldingServer(http.server.ThreadingHTTPServer):
    """Answers ``/NNN`` with the number; ``HELD`` only once ``released`` is set."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Holding)
        self.released = threading.Event()
        self.gets: Counter[int] = Counter()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Holding(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HoldingServer
    timeout = 60

    def do_GET(self) -> None:
        number = int(self.path.strip("/"))
        with self.server.lock:
            self.server.gets[number] += 1
        if number == HELD:
            self.server.released.wait(60)
        body = str(number).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + body)  # in one piece: a second waits 40 ms for the first one's acknowledgement

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def holding() -> Iterator[HoldingServer]:
    server = HoldingServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@ORDERS
@EVERYWHERE
@pytest.mark.parametrize("batch_size", [7, 32])
def test_each_sample_comes_once_an_epoch_with_its_own_label(order: Any, batch_size: int, *, in_processes: bool) -> None:
    with al.Loader(
        numbered(), decode=decode, batch_size=batch_size, shuffle=True, seed=1, drop_last=False, order=order,
        use_multiprocessing=in_processes, workers=2,
    ) as loader:  # fmt: skip
        seen: dict[int, list[int]] = {}
        steps: dict[int, list[int]] = {}
        for batch in loader.epochs(3):
            assert (batch[1] == batch.sample_ids).all()
            assert (batch[0] == batch.sample_ids[:, None]).all()
            assert batch.valid.all()
            seen.setdefault(batch.epoch, []).extend(batch.sample_ids.tolist())
            steps.setdefault(batch.epoch, []).append(batch.step)
    assert sorted(seen) == [0, 1, 2]
    assert all(sorted(ids) == list(range(N)) for ids in seen.values())
    assert all(numbers == list(range(-(-N // batch_size))) for numbers in steps.values())


@ORDERS
@EVERYWHERE
def test_the_label_of_the_dataset_follows_its_sample(order: Any, *, in_processes: bool) -> None:
    with al.Loader(
        numbered(), decode=lambda data: np.full(1, int(data)), batch_size=8, shuffle=True, seed=1, order=order,
        use_multiprocessing=in_processes, workers=2,
    ) as loader:  # fmt: skip
        for numbers, labels in loader:
            assert (numbers[:, 0] == labels).all()


@ORDERS
@EVERYWHERE
@pytest.mark.parametrize("concurrency", [5, 16])
def test_a_held_answer_holds_up_no_other_batch_and_comes_last(
    holding: HoldingServer, order: Any, concurrency: int, *, in_processes: bool
) -> None:
    data = al.from_samples([f"{i:03}" for i in range(N)], root=holding.url)
    with al.Loader(
        data, decode=decode, batch_size=8, concurrency=concurrency, order=order, drop_last=False, stall_timeout_s=20,
        use_multiprocessing=in_processes, workers=2, retry=ASKED_ONCE,
    ) as loader:  # fmt: skip
        batches = iter(loader.epochs(2))
        ids: list[int] = []
        # All but the held one that may be fetched before it: the whole epoch, or a window of eight times the requests.
        ahead = N if order == "any" else max(8 * concurrency, 16)
        for _ in range((min(ahead, N) - 1) // 8):
            ids += next(batches).sample_ids.tolist()
        assert len(ids) >= 8
        assert HELD not in ids
        holding.released.set()
        for batch in batches:
            assert (batch[1] == batch.sample_ids).all()
            ids += batch.sample_ids.tolist()
    assert sorted(ids) == sorted([*range(N), *range(N)])
    assert set(holding.gets.values()) <= {1, 2}  # both epochs may want one at the same time


@EVERYWHERE
def test_in_strict_order_a_held_answer_holds_up_its_own_batch_and_not_the_ones_before(
    holding: HoldingServer, *, in_processes: bool
) -> None:
    samples = [f"{i:03}" for i in [*range(10, 20), HELD, *range(20, 30)]]
    data = al.from_samples(samples, root=holding.url)
    with al.Loader(
        data, decode=decode, batch_size=5, stall_timeout_s=0.5, drop_last=False, use_multiprocessing=in_processes,
        workers=2,
    ) as loader:  # fmt: skip
        batches = iter(loader)
        assert [next(batches).step, next(batches).step] == [0, 1]
        with pytest.raises(al.errors.StalledError, match=rf"{HELD:03} \(fetch"):
            next(batches)
        holding.released.set()
    with al.Loader(data, decode=decode, batch_size=5, use_multiprocessing=in_processes, workers=2) as loader:
        assert [i for batch in loader for i in batch.sample_ids.tolist()] == list(range(21))


@ORDERS
@EVERYWHERE
def test_failures_get_stand_ins_of_their_own_batch(order: Any, *, in_processes: bool) -> None:
    def fragile(data: bytes, sample: al.SampleRef) -> tuple[np.ndarray, int]:
        if sample.index % 9 == 0:  # the first one of all too
            raise ValueError(f"number {sample.index}")
        return np.full(4, int(data), np.int32), sample.index

    with al.Loader(
        numbered(), decode=fragile, batch_size=8, order=order, on_error="skip", max_error_rate=1.0, drop_last=False,
        use_multiprocessing=in_processes, workers=2,
    ) as loader:  # fmt: skip
        ids, invalid = [], []
        for batch in loader.epochs(2):
            good = set(batch.sample_ids[batch.valid].tolist())
            assert (batch[1][batch.valid] == batch.sample_ids[batch.valid]).all()
            assert set(batch[1][~batch.valid].tolist()) <= good
            ids += batch.sample_ids.tolist()
            invalid += batch.sample_ids[~batch.valid].tolist()
    assert sorted(ids) == sorted([*range(N), *range(N)])
    assert sorted(invalid) == sorted([*range(0, N, 9), *range(0, N, 9)])
    assert len(loader.skipped) == len(invalid)


@ORDERS
@EVERYWHERE
def test_ranks_share_an_epoch_and_pads_weigh_nothing(order: Any, *, in_processes: bool) -> None:
    seen: list[int] = []
    for rank in range(3):
        with al.Loader(
            numbered(), decode=decode, batch_size=7, shuffle=True, seed=2, drop_last=False, order=order, rank=rank,
            world_size=3, use_multiprocessing=in_processes, workers=2,
        ) as loader:  # fmt: skip
            for batch in loader:
                assert (batch[1] == batch.sample_ids).all()
                assert (batch[2] == batch.valid).all()
                seen += batch.sample_ids[batch.valid].tolist()
    assert sorted(seen) == list(range(N))
