"""Keys that are whole addresses: what is fetched, from whom, and what is told of it."""

from __future__ import annotations

import pickle
import socket
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from aioloader.errors import (
    DatasetError,
    ManifestError,
    ObjectNotFoundError,
    OptionError,
    RedirectRefusedError,
)
from aioloader.storage.absolute import AbsoluteStore
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.local.store import LocalStore
from aioloader.storage.memory import MemoryStore
from aioloader.types import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Buckets = Callable[..., AbstractAsyncContextManager[Any]]


async def test_addresses_go_to_their_server_and_keys_to_the_base(bucket: Buckets) -> None:
    async with bucket({"a ü.bin": b"0123456789"}) as server:
        store = AbsoluteStore(MemoryStore({"b.bin": b"base"}), allow_hosts=["127.0.0.1"])
        assert isinstance(store, Store)
        assert await store.get("b.bin") == b"base"
        assert await store.size("b.bin") == 4
        assert await store.get(server.url + "a ü.bin") == b"0123456789"
        assert await store.get(server.url + "a%20%C3%BC.bin", (2, 5)) == b"234"
        assert await store.size(server.url + "a ü.bin") == 10
        assert store.location == "memory:///"
        assert store.origin == "memory://"
        with pytest.raises(ObjectNotFoundError, match="missing"):
            await store.get(server.url + "missing")
        await store.aclose()
        await store.aclose()


def test_addresses_beside_a_disk_count_as_remote() -> None:
    hosts = ["b.example:81", "*.a.example"]
    alone = AbsoluteStore(LocalStore().at("/"), allow_hosts=hosts)
    assert alone.origin == "https://b.example:81,*.a.example"
    assert alone.location == "https://b.example:81,*.a.example/"
    beside = AbsoluteStore(LocalStore().at("/data"), allow_hosts=hosts[::-1])
    assert beside.origin == alone.origin
    assert beside.location == "https://b.example:81,*.a.example/ and file:///data/"
    assert AbsoluteStore(LocalStore().at("/data"), allow_hosts=[]).origin == "file://"


async def test_the_users_headers_are_not_sent_to_strangers(bucket: Buckets) -> None:
    async with bucket({"a": b"abc"}) as server:
        http = HTTPStore(headers={"Authorization": "Bearer CANARY", "X-Mine": "CANARY"})
        store = AbsoluteStore(http.at(server.url), allow_hosts=["127.0.0.1"], http=http)
        assert await store.get(server.url + "a") == b"abc"
        assert "CANARY" not in str(server.requests[-1].headers)
        assert await store.get("a") == b"abc"
        assert server.requests[-1].headers["Authorization"] == "Bearer CANARY"
        assert "CANARY" not in repr(store)
        await store.aclose()


async def test_a_presigned_query_is_sent_as_written_and_never_shown(
    bucket: Buckets, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with bucket({"a(1)": b"abc"}) as server:
        store = AbsoluteStore(MemoryStore(), allow_hosts=["127.0.0.1"])
        missing = server.url + "b?sig=CANARY"
        assert await store.get(server.url + "a(1)?sig=CANARY%2f+~") == b"abc"
        assert server.requests[-1].raw_path == "/root/a(1)?sig=CANARY%2f+~"
        with pytest.raises(ObjectNotFoundError) as caught:
            await store.get(missing)
        await store.aclose()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__) + caplog.text
    assert "CANARY" not in told
    assert "b?sig=…" in told


async def test_a_redirect_to_another_server_is_refused(bucket: Buckets) -> None:
    async with bucket({"a": b"abc"}) as stranger:

        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": stranger.url + "a"})

        async with bucket({}, answer=redirect) as server:
            store = AbsoluteStore(MemoryStore(), allow_hosts=["127.0.0.1"])
            with pytest.raises(RedirectRefusedError):
                await store.get(server.url + "a")
            assert not stranger.requests
            await store.aclose()


@dataclass(frozen=True)
class Case:
    id: str
    key: str
    allow: tuple[str, ...]
    allowed: bool


CASES = [
    Case("exact", "https://img.example.com/a", ("img.example.com",), True),
    Case("any case, final dot", "https://IMG.Example.com./a", ("img.example.COM",), True),
    Case("any port", "https://img.example.com:444/a", ("img.example.com",), True),
    Case("that port", "https://img.example.com:444/a", ("img.example.com:444",), True),
    Case("another port", "https://img.example.com:445/a", ("img.example.com:444",), False),
    Case("default port", "https://img.example.com/a", ("img.example.com:443",), True),
    Case("another host", "https://evil.example/a", ("img.example.com",), False),
    Case("below, not named", "https://x.img.example.com/a", ("img.example.com",), False),
    Case("wildcard", "https://x.example.com/a", ("*.example.com",), True),
    Case("wildcard, deeper", "https://x.y.example.com/a", ("*.example.com",), True),
    Case("wildcard is not the name itself", "https://example.com/a", ("*.example.com",), False),
    Case("wildcard is not a suffix of letters", "https://badexample.com/a", ("*.example.com",), False),
    Case("wildcard with port", "https://x.example.com:8/a", ("*.example.com:9",), False),
    Case("user info is not the host", "https://img.example.com@evil.example/a", ("img.example.com",), False),
    Case("backslash is not a path", "https://evil.example\\@img.example.com/a", ("img.example.com",), False),
    Case("loopback", "http://127.0.0.1:8/a", ("*.example.com",), False),
    Case("loopback, named", "http://127.0.0.1:8/a", ("127.0.0.1",), True),
    Case("loopback, another spelling", "http://127.1:8/a", ("127.0.0.1",), False),
    Case("IPv6", "http://[::1]:8/a", ("[::1]",), True),
    Case("IPv6 with port", "http://[::1]:8/a", ("[::1]:9",), False),
    Case("metadata", "http://169.254.169.254/latest", ("example.com",), False),
    Case("nothing allowed", "https://img.example.com/a", (), False),
    Case("another scheme", "s3://img.example.com/a", ("img.example.com",), False),
    Case("file", "file:///etc/passwd", (), False),
    Case("no host", "https:///a", ("img.example.com",), False),
    Case("secret in the clear", "http://img.example.com/a?sig=CANARY", ("img.example.com",), False),
    Case("a plain key", "folder/a.jpg", (), True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_only_allowed_hosts_are_asked(case: Case) -> None:
    store = AbsoluteStore(MemoryStore(), allow_hosts=case.allow)
    if case.allowed:
        store.check(case.key)
        return
    with pytest.raises(ManifestError) as caught:
        store.check(case.key)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))
    for attempt in (store.get(case.key), store.size(case.key)):
        with pytest.raises(ManifestError):
            await attempt


def test_the_refusal_names_the_host_and_the_remedy() -> None:
    with pytest.raises(ManifestError, match=r"'img\.example\.com'.*allow_hosts=\['img\.example\.com'\]"):
        AbsoluteStore(MemoryStore(), allow_hosts=[]).check("https://img.example.com/a.jpg?sig=x")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"])
async def test_a_wildcard_does_not_lead_to_an_inner_network(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = socket.getaddrinfo

    def names_of_an_attacker(host: str, *arguments: Any, **options: Any) -> Any:
        return system(address if host == "x.example.com" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", names_of_an_attacker)
    store = AbsoluteStore(MemoryStore(), allow_hosts=["*.example.com"])
    with pytest.raises(ManifestError, match="inner network"):
        await store.get("http://x.example.com:1/a")
    with pytest.raises(ManifestError, match="inner network"):
        await store.size("http://x.example.com:1/a")


@pytest.mark.parametrize(
    "entry", ["https://h", "h/x", "", "*", "*.*.h", "a*.h", "h:0", "h:99999", "h:x", "me@h", "h h", 7]
)
def test_an_entry_that_is_no_host_is_refused(entry: Any) -> None:
    with pytest.raises(OptionError, match="allow_hosts"):
        AbsoluteStore(MemoryStore(), allow_hosts=[entry])


def test_one_text_is_not_a_list_of_hosts() -> None:
    with pytest.raises(OptionError, match=r"\['example\.com'\]"):
        AbsoluteStore(MemoryStore(), allow_hosts="example.com")


async def test_it_is_not_listed() -> None:
    store = AbsoluteStore(MemoryStore({"a": b""}), allow_hosts=[])
    with pytest.raises(DatasetError, match="not listed"):
        _ = [meta async for meta in store.list()]


async def test_a_pickled_store_works(bucket: Buckets) -> None:
    async with bucket({"a": b"abc"}) as server:
        store = AbsoluteStore(MemoryStore(), allow_hosts=["127.0.0.1"])
        assert await store.get(server.url + "a") == b"abc"
        copy: AbsoluteStore = pickle.loads(pickle.dumps(store))
        assert await copy.get(server.url + "a") == b"abc"
        await copy.aclose()
        await store.aclose()
