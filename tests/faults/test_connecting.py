"""Rows 1 to 4: no connection, no name, no trust."""

from __future__ import annotations

import datetime
import gc
import random
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme
from aiohttp.resolver import ThreadedResolver

import aioloader as al
from aioloader.errors import ConnectFailedError, TLSRejectedError
from aioloader.testing import Fault, FaultServer
from tests.faults.drill import CLOUDS, HTTP, S3, Via, below, bodies, check_exact, loader_of, running, serving
from tests.faults.proxy import CuttingProxy, proxied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiohttp.abc import ResolveResult

    from tests.reliability import Seen

PATIENT = al.Retry(attempts=40, base_s=0.05, throttled_base_s=0.05, longest_wait_s=0.2)


def marked(row: int, *vias: Via) -> list[Any]:
    """The ways to the server, marked for ``row``."""
    return [pytest.param(via, marks=pytest.mark.fault(row=row, stores=(via.store,)), id=str(via)) for via in vias]


def read_while(loader: al.Loader, objects: dict[str, bytes], work: Any) -> None:
    """Read an epoch exactly, and do ``work`` in another thread meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        check_exact(loader, objects)
    finally:
        thread.join()


@pytest.mark.parametrize("via", marked(1, *HTTP, *S3, *CLOUDS))
def test_a_server_that_is_away_for_a_while(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 120, sizes=(0, 100))
    draw = random.Random(fault_seed)
    with (
        running(FaultServer(below(via.prefix, objects), latency_s=0.02)) as served,
        loader_of(
            via.at(served.server.url), objects, seed=fault_seed, retry=PATIENT, concurrency=4, batch_size=4
        ) as loader,
    ):

        def restart() -> None:
            time.sleep(draw.uniform(0.1, 0.3))
            served.run(served.server.down())
            time.sleep(draw.uniform(0.1, 0.6))
            served.run(served.server.up())

        read_while(loader, objects, restart)
    seen.exact()


@pytest.mark.parametrize("via", marked(1, *HTTP, *S3, *CLOUDS))
def test_an_address_where_nobody_ever_was_is_named_after_two_attempts(via: Via, fault_seed: int, seen: Seen) -> None:
    gc.collect()  # of other tests, what remembers that this origin answered once
    objects = bodies(fault_seed, 3)
    with serving(FaultServer({})) as server:
        url = server.url
    with loader_of(via.at(url), objects, seed=fault_seed) as loader, pytest.raises(ConnectFailedError) as caught:
        list(loader)
    assert caught.value.attempts == 2
    assert caught.value.sample_id is not None
    seen.error(caught.value)


@contextmanager
def full(port: int) -> Iterator[None]:
    """A listener at ``port`` whose line is full: who connects hears nothing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("via", marked(4, *HTTP, *S3, *CLOUDS))
def test_a_server_that_takes_no_connection_for_a_while(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 120, sizes=(0, 100))
    draw = random.Random(fault_seed)
    with running(FaultServer(below(via.prefix, objects), latency_s=0.02)) as served:
        store = via.at(served.server.url, connect_timeout_s=0.3)
        port = urlsplit(served.server.url).port or 0
        with loader_of(store, objects, seed=fault_seed, retry=PATIENT, concurrency=4, batch_size=4) as loader:

            def silence() -> None:
                time.sleep(draw.uniform(0.1, 0.3))
                served.run(served.server.down())
                with full(port):
                    time.sleep(draw.uniform(0.4, 0.8))
                served.run(served.server.up())

            read_while(loader, objects, silence)
    seen.exact()


@pytest.mark.parametrize("via", marked(4, *HTTP, *S3))
def test_a_server_that_takes_no_connection_at_all_is_named(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 3)
    with serving(FaultServer({})) as server:
        url = server.url
    with (
        full(urlsplit(url).port or 0),
        loader_of(via.at(url, connect_timeout_s=0.2), objects, seed=fault_seed) as loader,
        pytest.raises(ConnectFailedError) as caught,
    ):
        list(loader)
    assert caught.value.attempts == 2
    seen.error(caught.value)


class Names:
    """Answers look-ups in the place of the system's: of ``fails`` some fail as a busy name server does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = 0
        self.asked = 0
        monkeypatch.setattr(ThreadedResolver, "resolve", self.resolve)

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        """127.0.0.1, or EAI_AGAIN."""
        del family
        self.asked += 1
        if self.fails > 0:
            self.fails -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]


@pytest.mark.fault(row=2, stores=("http",))
@pytest.mark.parametrize("via", HTTP, ids=str)
def test_a_name_server_that_fails_for_a_while(
    via: Via, fault_seed: int, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioloader.storage.http.fast_transport.LOOKUP_KEPT_S", 0.0)
    names = Names(monkeypatch)
    objects = bodies(fault_seed, 60, sizes=(0, 100))
    stored = below(via.prefix, objects)
    faults = {key: [Fault(kind="cut")] for key in random.Random(fault_seed).sample(sorted(stored), 30)}
    with serving(FaultServer(stored, faults)) as server:
        url = server.url.replace("127.0.0.1", "bucket.test")
        with loader_of(
            via.at(url, proxy=None), objects, seed=fault_seed, retry=PATIENT, concurrency=4, batch_size=4
        ) as loader:
            batches = iter(loader)
            first = next(batches)
            names.fails = 10
            ids = first.sample_ids.tolist() + [index for batch in batches for index in batch.sample_ids.tolist()]
            assert sorted(ids) == list(range(60))
    seen.exact()


@pytest.mark.parametrize("via", marked(2, *HTTP, *S3, *CLOUDS))
def test_a_name_that_nobody_knows_is_named(via: Via, fault_seed: int, seen: Seen) -> None:
    gc.collect()
    objects = bodies(fault_seed, 3)
    store = via.at("https://nobody.invalid/", connect_timeout_s=2.0)
    with loader_of(store, objects, seed=fault_seed) as loader, pytest.raises(ConnectFailedError) as caught:
        list(loader)
    assert caught.value.attempts == 2
    seen.error(caught.value)


@dataclass(frozen=True)
class Distrusted:
    """A certificate that is not to be trusted."""

    id: str
    name: str = "127.0.0.1"
    expired: bool = False
    own_authority: bool = True


DISTRUSTED = [
    Distrusted("another name", name="other.test"),
    Distrusted("expired", expired=True),
    Distrusted("unknown authority", own_authority=False),
]


def certified(case: Distrusted, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file of the authority that the client trusts."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    until = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) if case.expired else None
    authority.issue_cert(case.name, not_after=until).configure_cert(context)
    ca_file = folder / "ca.pem"
    (authority if case.own_authority else trustme.CA()).cert_pem.write_to_path(ca_file)
    return context, ca_file


@pytest.mark.parametrize("case", DISTRUSTED, ids=lambda case: case.id)
@pytest.mark.parametrize("via", marked(3, *HTTP, *S3, *CLOUDS))
def test_a_certificate_that_is_not_to_be_trusted(
    case: Distrusted, via: Via, fault_seed: int, seen: Seen, tmp_path: Path
) -> None:
    objects = bodies(fault_seed, 3)
    context, ca_file = certified(case, tmp_path)
    with serving(FaultServer(below(via.prefix, objects), tls=context)) as server:
        store = via.at(server.url, ca_file=ca_file)
        with (
            loader_of(store, objects, seed=fault_seed, on_error="skip", max_error_rate=1.0) as loader,
            pytest.raises(TLSRejectedError) as caught,
        ):
            list(loader)
        assert not server.requests
    assert caught.value.attempts == 1
    seen.error(caught.value)


@pytest.mark.parametrize("via", marked(3, *HTTP, *S3, *CLOUDS))
def test_handshakes_that_break_off_are_made_again(via: Via, fault_seed: int, seen: Seen, tmp_path: Path) -> None:
    objects = bodies(fault_seed, 60, sizes=(0, 5000))
    context, ca_file = certified(Distrusted("good"), tmp_path)
    with (
        serving(FaultServer(below(via.prefix, objects), tls=context)) as server,
        # A handshake takes some 2 kB: of those that are cut, most are cut within it.
        proxied(CuttingProxy(server.url, seed=fault_seed, share=0.5, within_bytes=3000)) as proxy,
    ):
        # Before the first object, two failures in a row would be an address that is wrong.
        store = via.at(proxy.url, ca_file=ca_file)
        with loader_of(store, objects, seed=fault_seed, retry=PATIENT, concurrency=4) as loader:
            proxy.share, share = 0.0, proxy.share
            batches = iter(loader)
            ids = next(batches).sample_ids.tolist()
            proxy.share = share
            proxy.cut_all()
            ids += [index for batch in batches for index in batch.sample_ids.tolist()]
    assert sorted(ids) == list(range(60))
    assert proxy.cuts > 0
    seen.exact()
