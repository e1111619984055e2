"""Where requests may be sent on to, and what travels with them; proxies; certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web
from yarl import URL

from aioloader.errors import AccessDeniedError, ConnectFailedError, RedirectRefusedError, TLSRejectedError
from aioloader.storage.http.fetch import HTTPFetcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aioloader.storage.http.store import HTTPStore
    from tests.storage.conftest import BucketFactory, Closing, NewStore, RawFactory

CREDENTIALS = {"Authorization": "Bearer SECRET", "Cookie": "s=SECRET", "X-Api-Key": "SECRET", "X-Mine": "SECRET"}

MINE = {name: value for name, value in CREDENTIALS.items() if name != "Authorization"}


def redirect_to(target: str, status: int = 302) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers every request with a redirect to the target, ``{path}`` being the path asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": target.format(path=request.raw_path)})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_origin_keeps_the_headers(
    status: int, bucket: BucketFactory, http: NewStore, closing: Closing
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/root/moved.bin":
            return web.Response(status=status, headers={"Location": "./n%65w.bin"})
        assert request.raw_path == "/root/n%65w.bin"
        assert request.headers["X-Api-Key"] == "SECRET"
        return web.Response(body=b"moved")

    async with bucket({}, answer=answer) as server:
        store = closing(http(headers=CREDENTIALS).at(server.url))
        assert await store.get("moved.bin") == b"moved"


@pytest.mark.fault(row=17, stores=("http",))
async def test_another_origin_sees_no_header_of_the_users(
    bucket: BucketFactory, http: NewStore, closing: Closing
) -> None:
    async with bucket({"a.bin": b"0123456789"}) as stranger:
        target = stranger.url.removesuffix("/root/") + "{path}"
        async with bucket({}, answer=redirect_to(target)) as home:
            store = closing(http(headers=MINE).at(home.url.replace("//", "//me:SECRET@")))
            assert await store.get("a.bin", (2, 5)) == b"234"
            assert await store.size("a.bin") == 10
        assert len(stranger.requests) == 2
        for request in stranger.requests:
            assert "SECRET" not in str(request.headers)
            assert not {name.lower() for name in CREDENTIALS} & {name.lower() for name in request.headers}


async def test_headers_do_not_return_with_a_redirect_that_comes_back(
    bucket: BucketFactory, http: NewStore, closing: Closing
) -> None:
    addresses: dict[str, str] = {}

    async def away(request: web.Request) -> web.StreamResponse:
        if request.path == "/root/a.bin":
            return web.Response(status=302, headers={"Location": addresses["stranger"]})
        return web.Response(body=b"x" if "X-Api-Key" not in request.headers else b"SECRET")

    async def back(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": addresses["home"] + "chosen-by-a-stranger"})

    async with bucket({}, answer=back) as stranger, bucket({}, answer=away) as home:
        addresses.update(stranger=stranger.url, home=home.url)
        assert await closing(http(headers=CREDENTIALS).at(home.url)).get("a.bin") == b"x"
        assert "X-Api-Key" in home.requests[0].headers


@pytest.mark.fault(row=17, stores=("http",))
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{path}", "more than 5 redirects"),
        ("", "without a target"),
        ("file:///etc/passwd", "not an http"),
        ("ftp://host/a", "not an http"),
        ("http://[::1", "not an http"),
        ("http://host:99999/", "not an http"),
    ],
)
async def test_a_redirect_to_nowhere_is_refused(
    target: str, words: str, bucket: BucketFactory, http: NewStore, closing: Closing
) -> None:
    async with bucket({}, answer=redirect_to(target)) as server:
        store = closing(http().at(server.url))
        with pytest.raises(RedirectRefusedError, match=words):
            await store.get("a.bin")
        assert len(server.requests) <= 6


@dataclass(frozen=True)
class Certified:
    """A server's certificate for 127.0.0.1, and a store that trusts its authority."""

    context: ssl.SSLContext
    store: HTTPStore


@pytest.fixture
def certified(tmp_path: Path, http: NewStore) -> Certified:
    """The store is made here, outside of a loop: it looks whether the file is there."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return Certified(context, http(ca_file=tmp_path / "ca.pem"))


@pytest.mark.fault(row=17, stores=("http",))
async def test_https_to_http_is_refused(bucket: BucketFactory, closing: Closing, certified: Certified) -> None:
    async with bucket({"a.bin": b"x"}) as plain:
        answer = redirect_to(plain.url + "a.bin?sig=SECRET")
        async with bucket({}, answer=answer, tls=certified.context) as server:
            store = closing(certified.store.at(server.url))
            with pytest.raises(RedirectRefusedError, match="from https to plain http") as caught:
                await store.get("a.bin")
    assert "SECRET" not in str(caught.value)
    assert not plain.requests


async def test_certificates_are_verified_against_the_authority_given(
    bucket: BucketFactory, http: NewStore, closing: Closing, certified: Certified
) -> None:
    async with bucket({"a.bin": b"x"}, tls=certified.context) as server:
        assert await closing(certified.store.at(server.url)).get("a.bin") == b"x"
        with pytest.raises(TLSRejectedError, match="ca_file="):
            await closing(http().at(server.url)).get("a.bin")
        other_name = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(TLSRejectedError, match="certificate"):
            await closing(certified.store.at(other_name)).get("a.bin")


async def test_https_to_a_port_without_tls_is_rejected(bucket: BucketFactory, http: NewStore, closing: Closing) -> None:
    async with bucket({"a.bin": b"x"}) as server:
        store = closing(http().at(server.url.replace("http:", "https:")))
        with pytest.raises(TLSRejectedError, match="handshake"):
            await store.get("a.bin")


@pytest.mark.fault(row=17, stores=("s3",))
async def test_a_signed_request_is_not_sent_on(http: NewStore, bucket: BucketFactory) -> None:
    async with bucket({"a.bin": b"x"}) as other:
        async with bucket({}, answer=redirect_to(other.url + "a.bin", 307)) as home:
            fetcher = HTTPFetcher(http(headers=CREDENTIALS).options)
            with pytest.raises(RedirectRefusedError, match="signed request"):
                await fetcher.fetch(URL(home.url + "a.bin?X-Amz-Signature=s"), shown="s3://b/a.bin", signed=True)
            await fetcher.aclose()
        assert not {"Authorization", "X-Mine"} & set(home.requests[0].headers)
        assert not other.requests


@pytest.mark.fault(row=17, stores=("http",))
@pytest.mark.parametrize(
    "inner",
    ["http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/", "http://10.0.0.1/", "http://localhost/"],
)
async def test_a_public_server_cannot_send_us_into_the_inner_network(
    inner: str, bucket: BucketFactory, http: NewStore, closing: Closing
) -> None:
    async with bucket({}, answer=redirect_to(inner)) as proxy:
        store = closing(http(proxy=proxy.url.removesuffix("root/")).at("http://public.test/"))
        with pytest.raises(RedirectRefusedError, match="inner network"):
            await store.get("a.bin")
        assert len(proxy.requests) == 1


@pytest.mark.fault(row=17, stores=("http",))
async def test_a_name_that_resolves_to_the_inner_network_is_refused(
    bucket: BucketFactory, http: NewStore, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0x7f000001 is no address to a parser, and 127.0.0.1 to the resolver: as a rebinding name would be.
    async with bucket({"a.bin": b"x"}) as victim:
        port = URL(victim.url).port
        async with bucket({}, answer=redirect_to(f"http://0x7f000001:{port}/root/a.bin")) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/root/"))
            monkeypatch.setenv("no_proxy", "0x7f000001")
            store = closing(http().at("http://public.test/"))
            with pytest.raises(RedirectRefusedError, match="0x7f000001"):
                await store.get("a.bin")
        assert len(proxy.requests) == 1
        assert not victim.requests


async def test_the_environment_names_the_proxy_unless_told_otherwise(
    bucket: BucketFactory, http: NewStore, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def by_proxy(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"proxied {request.raw_path}")

    async with bucket({}, answer=by_proxy) as proxy, bucket({"a.bin": b"direct"}) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/root/"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert await closing(http().at("http://public.test/x/")).get("ü") == b"proxied http://public.test/x/%C3%BC"
        assert await closing(http().at(server.url)).get("a.bin") == b"direct"
        with pytest.raises(ConnectFailedError, match=r"public\.invalid could not be looked up"):
            await closing(http(proxy=None).at("http://public.invalid/")).get("a.bin")


async def test_proxies_that_fail_say_so(
    bucket: BucketFactory, raw: RawFactory, http: NewStore, closing: Closing
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(ConnectFailedError, match="proxy"):
            await closing(http(proxy=nobody).at("http://public.test/")).get("a.bin")
    refusing = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with raw(refusing) as proxy:
        with pytest.raises(AccessDeniedError, match="proxy="):
            await closing(http(proxy=proxy.url).at("https://public.test/")).get("a.bin")


async def test_two_loops_and_a_thread_without_one_share_a_store(http: NewStore, bucket: BucketFactory) -> None:
    async with bucket({"a.bin": b"x"}) as server:
        store = await asyncio.to_thread(lambda: http().at(server.url))
        assert await store.get("a.bin") == b"x"
        await store.aclose()
