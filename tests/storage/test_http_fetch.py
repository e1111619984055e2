"""What comes over the wire, and what becomes of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import (
    AccessDeniedError,
    BodyTooLargeError,
    ConnectFailedError,
    ObjectChangedError,
    ObjectNotFoundError,
    OptionError,
    RangeNotHonouredError,
    RequestRefusedError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TransferStalledError,
    TruncatedBodyError,
)

if TYPE_CHECKING:
    from tests.storage.conftest import BucketFactory, Closing, NewStore, RawFactory


def answer_of(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A complete answer; ``length`` is what is claimed instead of the body's."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Case:
    """One answer to ``get("a.bin", byte_range)`` and what is raised."""

    id: str
    answer: bytes
    error: type[StoreError]
    words: str
    byte_range: tuple[int, int] | None = None


CASES = [
    Case("404", answer_of(b"", status="404 Not Found"), ObjectNotFoundError, "404 Not Found"),
    Case("410", answer_of(b"", status="410 Gone"), ObjectNotFoundError, "410 Gone"),
    Case("401", answer_of(b"", status="401 Unauthorized"), AccessDeniedError, "401"),
    Case(
        "403 with S3's code",
        answer_of(b"<Error><Code>SignatureDoesNotMatch</Code><Key>K</Key></Error>", status="403 Forbidden"),
        AccessDeniedError,
        r"403 Forbidden \(SignatureDoesNotMatch\)",
    ),
    Case("412", answer_of(b"", status="412 Precondition Failed"), ObjectChangedError, "412"),
    Case(
        "429 says how long",
        answer_of(b"", "Retry-After: 7", status="429 Too Many Requests"),
        ThrottledError,
        "wait 7 s",
    ),
    Case("503", answer_of(b"", status="503 Service Unavailable"), ThrottledError, "503"),
    Case("500", answer_of(b"", status="500 Oops"), ServerFailedError, "500 Internal Server Error"),
    Case("unknown status", answer_of(b"", status="599 Oops"), ServerFailedError, "599"),
    Case("304 unasked", answer_of(b"", status="304 Not Modified"), ServerFailedError, "304"),
    Case("204", b"HTTP/1.1 204 No Content\r\n\r\n", ServerFailedError, "204"),
    Case("body cut", answer_of(b"half", "Connection: close", length=8), TruncatedBodyError, "before the body did"),
    Case(
        "chunks cut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n",
        TruncatedBodyError,
        "before the body did",
    ),
    Case(
        "no length, no chunks",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome",
        TruncatedBodyError,
        "cannot be told",
    ),
    Case(
        "gzip unasked",
        answer_of(b"\x1f\x8b", "Content-Encoding: gzip"),
        RequestRefusedError,
        "Content-Encoding 'gzip'",
    ),
    Case("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\nConnection: close\r\n\r\n", ServerFailedError, "not HTTP"),
    Case("two lengths", answer_of(b"ab", "Content-Length: 3"), ServerFailedError, "not HTTP"),
    Case(
        "huge header",
        answer_of(b"", "X-Long: " + "a" * 70_000),
        ServerFailedError,
        "not HTTP",
    ),
    Case(
        "a header without end",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 300_000,
        ServerFailedError,
        "not HTTP",
    ),
    Case(
        "trailers without end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"X-More: y\r\n" * 100_000,
        StoreError,
        "answer is not HTTP|before the body did",
    ),
    Case(
        "a length that is no number", b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx", ServerFailedError, "not HTTP"
    ),
    Case("a length below nothing", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", ServerFailedError, "not HTTP"),
    Case(
        "length and chunks",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        ServerFailedError,
        "not HTTP",
    ),
    Case(
        "a chunk with a wrong size",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
        StoreError,
        "answer is not HTTP|before the body did",
    ),
    Case(
        "another protocol",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        ServerFailedError,
        "101|not HTTP",
    ),
    Case("too long by header", answer_of(b"", length=1001), BodyTooLargeError, "1001 bytes"),
    Case(
        "too long in chunks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"200\r\n" + b"x" * 512 + b"\r\n") * 3,
        BodyTooLargeError,
        "more than 1000 bytes",
    ),
    Case(
        "range ignored",
        answer_of(b"0123456789"),
        RangeNotHonouredError,
        "whole object instead",
        (2, 4),
    ),
    Case(
        "other range",
        answer_of(b"12", "Content-Range: bytes 1-2/10", status="206 Partial Content"),
        RangeNotHonouredError,
        "bytes 1-2/10",
        (2, 4),
    ),
    Case(
        "earlier range",
        answer_of(b"123", "Content-Range: bytes 1-3/10", status="206 Partial Content"),
        RangeNotHonouredError,
        "bytes 1-3/10",
        (2, 4),
    ),
    Case(
        "shorter range",
        answer_of(b"2", "Content-Range: bytes 2-2/10", status="206 Partial Content"),
        RangeNotHonouredError,
        "bytes 2-2/10",
        (2, 4),
    ),
    Case(
        "longer range",
        answer_of(b"2345", "Content-Range: bytes 2-5/10", status="206 Partial Content"),
        RangeNotHonouredError,
        "bytes 2-5/10",
        (2, 4),
    ),
    Case(
        "body shorter than its range",
        answer_of(b"2", "Content-Range: bytes 2-3/10", status="206 Partial Content"),
        TruncatedBodyError,
        "1 of 2",
        (2, 4),
    ),
    Case(
        "several ranges",
        answer_of(b"--x--", "Content-Type: multipart/byteranges", status="206 Partial Content"),
        RangeNotHonouredError,
        "Content-Range ''",
        (2, 4),
    ),
    Case(
        "206 unasked",
        answer_of(b"2", "Content-Range: bytes 2-2/10", status="206 Partial Content"),
        ServerFailedError,
        "206",
    ),
    Case(
        "416",
        answer_of(b"", "Content-Range: bytes */2", status="416 Range Not Satisfiable"),
        RangeNotHonouredError,
        "beyond the object's end",
        (2, 4),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_wrong_answer_is_a_named_error(case: Case, raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async with raw(case.answer) as server:
        store = closing(http(max_object_bytes=1000, idle_timeout_s=5).at(server.url))
        with pytest.raises(case.error, match=case.words) as caught:
            await store.get("a.bin", case.byte_range)
        assert case.error is StoreError or type(caught.value) is case.error
        assert f"{server.url}a.bin" in str(caught.value)
        assert caught.value.byte_range == case.byte_range


async def test_the_first_bytes_of_an_ignored_range_are_cut(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async with raw(answer_of(b"0123456789" * 100_000)) as server:
        store = closing(http(max_object_bytes=1000).at(server.url))
        assert await store.get("a.bin", (0, 4)) == b"0123"


async def test_the_first_bytes_of_an_empty_object_are_no_bytes(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    empty = answer_of(b"", "Content-Range: bytes */0", status="416 Range Not Satisfiable")
    async with raw(empty) as server:
        store = closing(http().at(server.url))
        assert await store.get("a.bin", (0, 4)) == b""


async def test_an_empty_range_asks_nobody_and_a_reversed_one_is_refused(http: NewStore, closing: Closing) -> None:
    store = closing(http().at("http://127.0.0.1:1/"))
    assert await store.get("a.bin", (3, 3)) == b""
    for wrong in ((-1, 4), (5, 4)):
        with pytest.raises(OptionError, match="byte_range"):
            await store.get("a.bin", wrong)


async def test_chunks_with_their_end_are_a_body(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with raw(chunked) as server:
        store = closing(http().at(server.url))
        assert [await store.get("a.bin"), await store.get("b.bin")] == [b"abcde", b"abcde"]
        assert server.connections == 1


async def test_identity_is_asked_for_and_no_cookie_is_kept(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async with raw(answer_of(b"x", "Set-Cookie: a=b")) as server:
        store = closing(http().at(server.url))
        await store.get("a.bin")
        await store.get("b.bin")
    for request in server.requests:
        assert b"Accept-Encoding: identity\r\n" in request
        assert b"Cookie" not in request


async def test_a_silent_server_stalls_the_transfer(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        await asyncio.Event().wait()

    async with raw(silence) as server:
        store = closing(http(idle_timeout_s=0.1).at(server.url))
        with pytest.raises(TransferStalledError, match="idle_timeout_s"):
            await store.get("a.bin")


async def test_a_reset_in_the_body_is_a_cut_body(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        await writer.drain()
        opened: socket.socket = writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with raw(reset) as server:
        store = closing(http().at(server.url))
        with pytest.raises((TruncatedBodyError, ServerFailedError), match="connection"):
            await store.get("a.bin")


async def test_no_answer_at_all_is_a_failed_server(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with raw(hang_up) as server:
        store = closing(http().at(server.url))
        with pytest.raises(ServerFailedError, match="without an answer"):
            await store.get("a.bin")


async def test_a_refused_connection_names_host_and_port(http: NewStore, closing: Closing) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        store = closing(http().at(f"http://127.0.0.1:{port}/"))
        with pytest.raises(ConnectFailedError, match=rf"127\.0\.0\.1:{port} \(Connection refused\)"):
            await store.get("a.bin")


async def test_a_full_backlog_is_a_failed_connection(http: NewStore, closing: Closing) -> None:
    # The first connections fill the queue that nobody accepts from; the kernel drops the next SYN.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            store = closing(http(connect_timeout_s=0.2).at(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
            with pytest.raises(ConnectFailedError, match="connect_timeout_s"):
                await store.get("a.bin")
        finally:
            for filler in fillers:
                filler.close()


async def test_bytes_beyond_the_body_poison_only_their_connection(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    async with raw(answer_of(b"first") + answer_of(b"extra"), answer_of(b"second")) as server:
        store = closing(http().at(server.url))
        assert await store.get("1.bin") == b"first"
        assert await store.get("2.bin") == b"second"
        assert server.connections == 2


@pytest.mark.fault(row=9, stores=("http",))
async def test_bytes_that_come_unasked_later_are_not_the_next_body(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    sent = asyncio.Event()
    ask = asyncio.Event()

    async def first_then_more(writer: asyncio.StreamWriter) -> None:
        writer.write(answer_of(b"first"))
        await ask.wait()
        writer.write(answer_of(b"extra"))
        await writer.drain()
        sent.set()

    async with raw(first_then_more, answer_of(b"second")) as server:
        store = closing(http().at(server.url))
        assert await store.get("1.bin") == b"first"
        ask.set()
        await sent.wait()
        for _ in range(20):  # the bytes are in the client's socket: let the loop read them
            await asyncio.sleep(0)
        assert await store.get("2.bin") == b"second"
        assert server.connections == 2


async def test_a_connection_is_kept_after_errors_and_reopened_when_stale(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    last = answer_of(b"late", "Connection: close")
    missing = answer_of(b"not here", status="404 Not Found")
    async with raw(missing, answer_of(b"yes"), last, answer_of(b"again")) as server:
        store = closing(http().at(server.url))
        with pytest.raises(ObjectNotFoundError):
            await store.get("1.bin")
        assert await store.get("2.bin") == b"yes"
        assert server.connections == 1
        assert await store.get("3.bin") == b"late"
        assert await store.get("4.bin") == b"again"
        assert server.connections == 2


@pytest.mark.parametrize("refusal", ["405 Method Not Allowed", "501 Not Implemented", "403 Forbidden"])
async def test_size_comes_from_one_byte_where_head_is_refused(
    refusal: str, raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    refused = f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode()
    one_byte = answer_of(b"0", "Content-Range: bytes 0-0/1234", status="206 Partial Content")
    async with raw(refused, one_byte) as server:
        store = closing(http().at(server.url))
        assert await store.size("a.bin") == 1234
        assert server.requests[0].startswith(b"HEAD /root/a.bin ")
        assert server.requests[1].startswith(b"GET /root/a.bin ")
        assert b"Range: bytes=0-0\r\n" in server.requests[1]


async def test_size_without_head_and_ranges_is_the_announced_length(
    raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", answer_of(b"12345")) as server:
        store = closing(http().at(server.url))
        assert await store.size("a.bin") == 5


async def test_size_that_nobody_tells_is_an_error(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with raw(chunked, chunked + b"1\r\nx\r\n0\r\n\r\n") as server:
        store = closing(http().at(server.url))
        with pytest.raises(RequestRefusedError, match="does not tell"):
            await store.size("a.bin")


async def test_max_connections_bounds_the_pool(bucket: BucketFactory, http: NewStore, closing: Closing) -> None:
    async with bucket({"a.bin": b"x"}) as server:
        store = closing(http(max_connections=3).at(server.url))
        await asyncio.gather(*(store.get("a.bin") for _ in range(30)))
        peers = {request.transport.get_extra_info("peername") for request in server.requests if request.transport}
        assert len(server.requests) == 30
        assert 1 <= len(peers) <= 3


async def test_a_cancelled_transfer_drops_its_connection(raw: RawFactory, http: NewStore, closing: Closing) -> None:
    begun = asyncio.Event()

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        begun.set()  # and on to reading the next request: the end of the connection ends that

    async with raw(half) as server:
        store = closing(http().at(server.url))
        task = asyncio.ensure_future(store.get("a.bin"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await server.closed.wait()
