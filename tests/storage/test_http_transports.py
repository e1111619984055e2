"""What both HTTP transports promise beyond the contract: stale connections, long bodies, closing, travelling."""

from __future__ import annotations

import asyncio
import importlib.util
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from aioloader.errors import ObjectNotFoundError, OptionError, ServerFailedError, StoreError, TruncatedBodyError
from aioloader.storage.http.connections import Connections
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.s3.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.storage.http.transport import Transport
    from tests.storage.conftest import BucketFactory, Closing, NewStore, RawFactory

LONG = bytes(range(251)) * 16_000  # 4 MB: many packets, and more than may wait unread


def answer_of(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A complete answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def chunked(body: bytes, chunk_bytes: int) -> bytes:
    """A complete answer in chunks."""
    pieces = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.close()


async def test_a_connection_that_was_closed_while_idle_is_replaced_once(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    async with raw(answer_of(b"one"), hang_up, answer_of(b"two"), hang_up, hang_up) as server:
        store = closing(http().at(server.url))
        assert await store.get("1.bin") == b"one"
        assert await store.get("2.bin") == b"two"
        assert len(server.requests) == 3
        with pytest.raises(ServerFailedError, match="without an answer"):
            await store.get("3.bin")
        assert len(server.requests) == 5


async def test_early_hints_are_not_the_answer(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 7\r\n\r\n"
    async with raw(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + answer_of(b"abc")) as server:
        store = closing(http().at(server.url))
        assert [await store.get("1.bin"), await store.get("2.bin")] == [b"abc", b"abc"]
        assert server.connections == 1


@pytest.mark.parametrize("extra", [answer_of(b""), answer_of(b"")[:20], b"\0"], ids=["answer", "half of one", "byte"])
async def test_what_comes_behind_an_answer_poisons_only_its_connection(
    extra: bytes, raw: RawFactory, closing: Closing
) -> None:
    # aiohttp fails the first request for a stray byte, and does not see half an answer until its other half comes.
    pytest.importorskip("httptools")
    async with raw(answer_of(b"first") + extra, answer_of(b"second")) as server:
        store = closing(HTTPStore(transport="fast").at(server.url))
        assert await store.get("1.bin") == b"first"
        assert await store.get("2.bin") == b"second"
        assert server.connections == 2


async def test_trailers_change_nothing(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    async with raw(body + b"Content-Encoding: gzip\r\nETag: 1\r\n\r\n") as server:
        store = closing(http().at(server.url))
        assert [await store.get("1.bin"), await store.get("2.bin")] == [b"abc", b"abc"]


@pytest.mark.parametrize("answer", [answer_of(LONG), chunked(LONG, 70_001), chunked(LONG, 997)], ids=len)
async def test_a_long_body_comes_whole(answer: bytes, raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async with raw(answer) as server:
        store = closing(http().at(server.url))
        for _ in range(2):
            assert await store.get("a.bin") == LONG
        assert await store.get("a.bin", (0, 2_000_000)) == LONG[:2_000_000]


async def test_an_answer_in_single_bytes_is_an_answer(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in answer_of(b"abc", "X-Other: value"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with raw(drip) as server:
        store = closing(http().at(server.url))
        assert [await store.get("1.bin"), await store.get("2.bin")] == [b"abc", b"abc"]
        assert server.connections == 1


async def test_a_long_body_that_is_cut_is_an_error(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async with raw(answer_of(LONG, "Connection: close")[:-1]) as server:
        with pytest.raises(TruncatedBodyError, match="before the body did"):
            await closing(http().at(server.url)).get("a.bin")


async def test_the_head_of_an_error_is_not_another_objects(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    # HEAD is answered with the length of a body that does not follow.
    lone = answer_of(b"12345", status="404 Not Found").removesuffix(b"12345")
    async with raw(lone, answer_of(b"12345").removesuffix(b"12345"), answer_of(b"12345")) as server:
        store = closing(http().at(server.url))
        with pytest.raises(ObjectNotFoundError):
            await store.size("a.bin")
        assert await store.size("a.bin") == 5
        assert await store.get("a.bin") == b"12345"
        assert server.connections == 1


async def test_closing_ends_a_transfer_in_progress(raw: RawFactory, http: NewStore) -> None:
    begun = asyncio.Event()

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(answer_of(LONG)[:100_000])
        begun.set()

    async with raw(half) as server:
        store = http().at(server.url)
        transfer = asyncio.ensure_future(store.get("a.bin"))
        await begun.wait()
        await store.aclose()
        async with asyncio.timeout(5):
            with pytest.raises((StoreError, RuntimeError)):  # aiohttp's stream says RuntimeError("Connection closed.")
                await transfer
            await server.closed.wait()


async def test_a_redirect_to_an_unescaped_address_is_asked_for_in_visible_ascii(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    moved = answer_of(b"", "Location: /with space/\u00fc\t?q=\u00fc 1", status="302 Found")
    async with raw(moved, answer_of(b"there")) as server:
        store = closing(http().at(server.url))
        assert await store.get("a.bin") == b"there"
        asked = server.requests[1].split(b"\r\n")[0]
        if store.options.transport == "fast":  # aiohttp sends it as it came
            assert asked == b"GET /with%20space/%C3%BC?q=%C3%BC%201 HTTP/1.1"


async def test_a_users_header_takes_the_place_of_ours(bucket: BucketFactory, http: NewStore, closing: Closing) -> None:
    async with bucket({"a.bin": b"x"}) as server:
        store = closing(http(headers={"user-agent": "me", "Accept": "image/*"}).at(server.url))
        for _ in range(2):
            assert await store.get("a.bin") == b"x"
    for request in server.requests:
        assert request.headers.getall("User-Agent") == ["me"]
        assert request.headers.getall("Accept") == ["image/*"]
        assert request.headers["Host"] == request.url.authority


async def test_many_at_once_share_few_connections_and_all_are_answered(
    bucket: BucketFactory, http: NewStore, closing: Closing
) -> None:
    async with bucket({"a.bin": b"x" * 5000}) as server:
        store = closing(http(max_connections=2).at(server.url))
        tasks = [asyncio.ensure_future(store.get("a.bin")) for _ in range(40)]
        for task in tasks[::3]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        bodies = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
        assert bodies == [b"x" * 5000] * (len(tasks) - len(tasks[::3]))
        assert await store.get("a.bin") == b"x" * 5000


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
async def test_a_store_travels_with_its_options_and_credentials_and_without_connections(
    dumps: Callable[[object], bytes], http: NewStore, bucket: BucketFactory, closing: Closing
) -> None:
    async with bucket({"a.bin": b"x"}) as server:
        url = server.url.replace("//", "//me:pw@")
        store = closing(http(headers={"X-Mine": "1"}, idle_timeout_s=7, max_object_bytes=99).at(url))
        assert await store.get("a.bin") == b"x"
        copy = closing(pickle.loads(dumps(store)))
        assert copy.options == store.options
        assert repr(copy) == repr(store)
        assert await copy.get("a.bin") == b"x"
        first, second = server.requests
        assert first.headers == second.headers
        assert first.headers["X-Mine"] == "1"
        assert first.headers["Authorization"].startswith("Basic ")
        assert first.transport is not second.transport


async def test_a_store_with_a_function_for_headers_travels_by_cloudpickle(
    http: NewStore, bucket: BucketFactory, closing: Closing
) -> None:
    token = "one"
    async with bucket({"a.bin": b"x"}) as server:
        store = http(headers=lambda: {"X-Token": token}).at(server.url)
        copy = closing(pickle.loads(cloudpickle.dumps(store)))
        assert await copy.get("a.bin") == b"x"
        assert server.requests[0].headers["X-Token"] == "one"


def test_an_unknown_transport_is_named() -> None:
    with pytest.raises(OptionError, match="'auto', 'aiohttp', 'fast'"):
        HTTPStore(transport="quick")


def test_the_fast_transport_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"aioloader\[fast\]"):
        HTTPStore(transport="fast")


def test_the_transport_is_told_where_it_was_chosen(http: NewStore) -> None:
    store = http()
    assert f"transport={store.options.transport!r}" in repr(store)
    assert "transport" not in repr(HTTPStore())


@pytest.mark.parametrize(("installed", "client"), [(True, "fast"), (False, "aiohttp")])
async def test_by_itself_the_fast_transport_is_taken_where_it_is_installed(
    bucket: BucketFactory, closing: Closing, monkeypatch: pytest.MonkeyPatch, *, installed: bool, client: str
) -> None:
    found = importlib.util.find_spec("aioloader") if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    used, make = [], Connections._transport

    def recorded(connections: Connections, *, guarded: bool) -> Transport:
        used.append(type(transport := make(connections, guarded=guarded)).__name__)
        return transport

    monkeypatch.setattr(Connections, "_transport", recorded)
    async with bucket({"a.bin": b"x"}) as server:
        store = closing(HTTPStore().at(server.url))
        assert (store.transport, S3Store().transport) == (client, client)
        assert await store.get("a.bin") == b"x"
    assert used == [f"{client.capitalize()}Transport"]


_CHURN = """
import resource
from aioloader.storage.freed_memory import keep_freed_memory
if {keep}: keep_freed_memory()
def churn():
    bodies = [bytes(65_000) for _ in range(64)]
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
before = faults()
for _ in range(20): churn()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc's malloc")
def test_memory_of_bodies_that_were_freed_serves_for_the_next() -> None:
    def page_faults(keep: bool) -> int:
        return int(subprocess.check_output([sys.executable, "-c", _CHURN.format(keep=keep)]))

    given_back = page_faults(keep=False)
    if given_back < 1000:
        pytest.skip("this malloc keeps freed memory by itself")
    assert page_faults(keep=True) < given_back / 10
