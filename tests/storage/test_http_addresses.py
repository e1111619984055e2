"""Addresses, keys and options: what is refused before anything is sent."""

from __future__ import annotations

import base64
import pickle
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.errors import AccessDeniedError, ObjectNotFoundError, OptionError
from aioloader.storage.hosts import is_inner_address, is_loopback_host, literal_address
from aioloader.storage.http.root import HTTPRoot
from aioloader.storage.http.store import HTTPStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.storage.conftest import BucketFactory, Closing

ROOT = HTTPRoot.parse("https://host/some%20data/train?sv=1&sig=a%2Fb%3D")


@given(st.text(min_size=1))
def test_a_key_is_requested_byte_for_byte_or_refused(key: str) -> None:
    try:
        url = ROOT.url(key)
    except ObjectNotFoundError:
        control = any(ord(char) < 32 or ord(char) == 127 for char in key)
        assert control or {".", ".."} & set(key.split("/"))
        return
    assert unquote_to_bytes(url.raw_path) == b"/some data/train/" + key.encode()
    assert url.raw_query_string == "sv=1&sig=a%2Fb%3D"
    assert url.raw_fragment == ""


def test_a_name_that_is_not_utf8_keeps_its_bytes() -> None:
    key = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert ROOT.url(key).raw_path.endswith("/caf%E9.jpg")
    assert ROOT.shown(key).encode("utf-8").endswith(rb"/caf\udce9.jpg")


@pytest.mark.parametrize("key", ["../a", "a/../b", "./a", "a/.", "..", "a\nb", "a\x00", "a\x7f", "half \ud800"])
async def test_a_key_that_http_cannot_carry_is_refused(key: str) -> None:
    store = HTTPStore().at("https://host/train/")
    for attempt in (store.get(key), store.size(key)):
        with pytest.raises(ObjectNotFoundError, match="cannot be requested over HTTP") as caught:
            await attempt
        assert str(caught.value).isprintable()


async def test_the_empty_key_is_no_object() -> None:
    with pytest.raises(ObjectNotFoundError, match="empty key"):
        await HTTPStore().at("https://host/train/").get("")


@pytest.mark.parametrize(
    ("url", "location", "origin"),
    [
        ("http://host", "http://host/", "http://host:80"),
        ("https://Host/a b/ü", "https://host/a%20b/%C3%BC/", "https://host:443"),
        ("http://host:8080/a//b/", "http://host:8080/a//b/", "http://host:8080"),
        ("http://[::1]:81/x", "http://[::1]:81/x/", "http://[::1]:81"),
        ("https://me:pw@host/x?sig=1", "https://host/x/", "https://host:443"),
    ],
)
def test_location_and_origin_can_be_printed(url: str, location: str, origin: str) -> None:
    store = HTTPStore().at(url)
    assert (store.location, store.origin) == (location, origin)


@pytest.mark.parametrize(
    "url",
    ["", "host/a", "/a", "ftp://host/", "https://", "https:///a", "https://host:x/", "https://h/#a", "https://h/a\n"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="url="):
        HTTPStore().at(url)


async def test_a_store_without_a_place_says_how_to_give_it_one() -> None:
    store = HTTPStore(headers={"X-Api-Key": "SECRET"})
    with pytest.raises(OptionError, match=r"HTTPStore\(\.\.\.\)\.at\(") as caught:
        await store.get("a")
    assert "SECRET" not in str(caught.value)
    await store.aclose()


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://me:pw@host/", None),
        ("http://host/?X-Amz-Signature=SECRET", None),
        ("http://host/?sas=1&sig=SECRET", None),
        ("http://10.0.0.1/", {"Authorization": "SECRET"}),
        ("http://localhost.evil.test/", {"X-Anything": "SECRET"}),
        ("http://host/", lambda: {"Authorization": "SECRET"}),
    ],
)
def test_credentials_do_not_cross_a_network_in_the_clear(url: str, headers: Any) -> None:
    with pytest.raises(OptionError, match="https://, because") as caught:
        HTTPStore(headers=headers).at(url)
    assert "SECRET" not in str(caught.value)


def test_a_proxy_elsewhere_is_a_network_too() -> None:
    with pytest.raises(OptionError, match="https://, because"):
        HTTPStore(headers={"Authorization": "x"}, proxy="http://proxy:3128").at("http://localhost/")


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://host/", None),
        ("http://host/?version=3", None),
        ("http://host/", {"User-Agent": "me"}),
        ("http://127.0.0.1:81/?sig=1", {"Authorization": "x"}),
        ("http://[::1]/", {"Authorization": "x"}),
        ("http://a.localhost/", {"Authorization": "x"}),
        ("https://host/?sig=1", {"Authorization": "x"}),
    ],
)
def test_plain_http_is_fine_without_credentials_and_on_this_machine(
    url: str, headers: Mapping[str, str] | None
) -> None:
    assert HTTPStore(headers=headers).at(url).location.startswith(url.partition("?")[0])


@pytest.mark.parametrize(
    "options",
    [
        {"headers": "Authorization: SECRET"},
        {"headers": {"Author ization": "SECRET"}},
        {"headers": {"X": "SECRET\r\nHost: evil"}},
        {"headers": {"X": b"SECRET"}},
        {"headers": {"range": "bytes=0-SECRET"}},
        {"proxy": "host:3128"},
        {"proxy": "socks5://me:SECRET@host"},
        {"proxy": 3128},
        {"ca_file": "/no/such/file"},
        {"max_connections": 0},
        {"max_connections": True},
        {"connect_timeout_s": 0},
        {"idle_timeout_s": float("inf")},
        {"idle_timeout_s": "10"},
        {"max_object_bytes": -1},
    ],
    ids=str,
)
def test_an_option_that_cannot_work_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        HTTPStore(**options)
    assert str(caught.value).startswith(next(iter(options)) + "=")
    assert "SECRET" not in str(caught.value)


async def test_headers_from_a_function_are_asked_for_each_request(bucket: BucketFactory, closing: Closing) -> None:
    tokens = iter(["one", "two"])
    async with bucket({"a.bin": b"x"}) as server:
        store = closing(HTTPStore(headers=lambda: {"authorization": next(tokens)}).at(server.url))
        await store.get("a.bin")
        await store.get("a.bin")
    assert [request.headers["Authorization"] for request in server.requests] == ["one", "two"]


async def test_a_function_for_headers_that_fails_is_named(bucket: BucketFactory, closing: Closing) -> None:
    def failing() -> dict[str, str]:
        raise KeyError("TOKEN")

    async with bucket({"a.bin": b"x"}) as server:
        with pytest.raises(AccessDeniedError, match="headers= function raised KeyError"):
            await closing(HTTPStore(headers=failing).at(server.url)).get("a.bin")
        wrong: Any = lambda: "token"  # noqa: E731  # the smallest wrong function
        with pytest.raises(OptionError, match="headers=a str"):
            await closing(HTTPStore(headers=wrong).at(server.url)).get("a.bin")


async def test_user_info_becomes_basic_authorisation_and_the_query_goes_along(
    bucket: BucketFactory, closing: Closing
) -> None:
    async with bucket({"a b.bin": b"x"}) as server:
        url = server.url.replace("//", "//m%40e:p%3Aw@") + "?sig=a%2Fb+c&sv=1"
        assert await closing(HTTPStore().at(url)).get("a b.bin") == b"x"
    (request,) = server.requests
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"m@e:p:w"
    assert request.raw_path == "/root/a%20b.bin?sig=a%2Fb+c&sv=1"


async def test_two_authorisations_are_refused() -> None:
    with pytest.raises(OptionError, match="gives Authorization"):
        HTTPStore(headers={"authorization": "x"}).at("https://me:pw@host/")


async def test_a_store_travels_without_its_connections(bucket: BucketFactory, closing: Closing) -> None:
    async with bucket({"a.bin": b"x"}) as server:
        store = closing(HTTPStore().at(server.url))
        assert await store.get("a.bin") == b"x"
        copy = closing(pickle.loads(pickle.dumps(store)))
        assert copy.location == store.location
        assert await copy.get("a.bin") == b"x"


@pytest.mark.parametrize(
    ("host", "inner", "loopback"),
    [
        ("8.8.8.8", False, False),
        ("127.9.9.9", True, True),
        ("::1", True, True),
        ("[::ffff:127.0.0.1]", True, True),
        ("169.254.169.254", True, False),
        ("::ffff:10.0.0.1", True, False),
        ("2002:7f00:1::", True, True),
        ("100.64.0.1", True, False),
        ("fe80::1%eth0", True, False),
        ("fc00::1", True, False),
        ("0.0.0.0", True, False),
        ("224.0.0.1", True, False),
        ("2606:4700::1", False, False),
    ],
)
def test_inner_addresses_are_known(host: str, inner: bool, loopback: bool) -> None:
    address = literal_address(host)
    assert address is not None
    assert is_inner_address(address) is inner
    assert is_loopback_host(host) is loopback
