"""GCS and Azure through obstore, against small servers that speak just enough of their dialects.

No real service and no vendor's emulator was asked: what is shown is our side and obstore's.
"""

from __future__ import annotations

import asyncio
import pickle
import random
import re
import traceback
from contextlib import asynccontextmanager
from hashlib import md5
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from aioloader.errors import (
    AccessDeniedError,
    BodyTooLargeError,
    ObjectChangedError,
    OptionError,
    RangeNotHonouredError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TruncatedBodyError,
)
from aioloader.storage.cloud.azure import AzureStore
from aioloader.storage.cloud.gcs import GCSStore
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.testing.store_contract import StoreContract
from aioloader.types import Partial, SampleRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aioloader.types import Store

WHEN = "Mon, 23 Nov 2026 07:00:00 GMT"
SAS = "sv=2026-01-01&sig=CANARY"


def etag_of(body: bytes) -> str:
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


class FakeCloud:
    """One bucket (or container) ``b``; GCS' XML API, or Azure's below ``/acct``."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.requests: list[web.Request] = []
        self.fail_with: tuple[int, str] | None = None
        self.cut_at: int | None = None
        self.cuts: list[int] = []
        self.ignores_if_match = False
        self.ignores_range = False
        self.weak = ""
        self.page_keys = 5000
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.fail_with is not None:
            status, text = self.fail_with
            return web.Response(status=status, text=text)
        path = request.raw_path.partition("?")[0].removeprefix("/acct").removeprefix("/b")
        if request.query.get("list-type") == "2" or request.query.get("comp") == "list":
            return web.Response(text=self._listing(request), content_type="application/xml")
        body = self.objects.get(unquote(path.removeprefix("/")))
        if body is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        etag = self.weak + etag_of(body)
        headers = {"ETag": etag, "Last-Modified": WHEN}
        if not self.ignores_if_match and request.headers.get("If-Match", etag) != etag:
            return web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")
        if request.method == "HEAD":  # aiohttp itself tells no length of an empty body
            return web.Response(headers={**headers, "Content-Length": str(len(body))})
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None or self.ignores_range:
            cut_at = self.cuts.pop(0) if self.cuts else self.cut_at
            if cut_at is not None:
                return await self._cut(request, 200, body, headers, cut_at)
            return web.Response(body=body, headers=headers)
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(body))
        if start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        if self.cuts:
            return await self._cut(request, 206, body[start:stop], headers, self.cuts.pop(0))
        return web.Response(status=206, body=body[start:stop], headers=headers)

    async def _cut(
        self, request: web.Request, status: int, body: bytes, headers: dict[str, str], at: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[:at])
        await asyncio.sleep(0.02)  # what was written leaves first
        assert request.transport is not None
        request.transport.close()
        return response

    def _listing(self, request: web.Request) -> str:
        query = request.query
        after = query.get("continuation-token") or query.get("marker") or query.get("start-after", "")
        found = [key for key in sorted(self.objects) if key.startswith(query.get("prefix", "")) and key > after]
        found, more = found[: self.page_keys], found[self.page_keys :]
        token = found[-1] if more else ""
        if request.query.get("comp") == "list":
            blobs = "".join(
                f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{WHEN}</Last-Modified>"
                f"<Content-Length>{len(self.objects[key])}</Content-Length><Content-Type>x/y</Content-Type>"
                f"<Etag>{etag_of(self.objects[key])[1:-1]}</Etag></Properties></Blob>"  # Azure leaves out the quotes
                for key in found
            )
            return f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{token}</NextMarker></EnumerationResults>"
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
            f"<LastModified>2026-11-23T07:00:00.000Z</LastModified><ETag>{etag_of(self.objects[key])}</ETag></Contents>"
            for key in found
        )
        following = f"<NextContinuationToken>{token}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult>{contents}{following}</ListBucketResult>"


@asynccontextmanager
async def fake_cloud(objects: Mapping[str, bytes]) -> AsyncIterator[FakeCloud]:
    cloud = FakeCloud(objects)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cloud.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield cloud
    finally:
        await runner.cleanup()


def gcs(cloud: FakeCloud, **options: Any) -> GCSStore:
    return GCSStore(endpoint=cloud.url, anonymous=True, **options)


def azure(cloud: FakeCloud, **options: Any) -> AzureStore:
    return AzureStore(account="acct", sas_token=SAS, endpoint=f"{cloud.url}/acct", **options)


class TestGCS(StoreContract):
    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        async with fake_cloud({f"p ü/{key}": body for key, body in objects.items()}) as cloud:
            yield gcs(cloud).at("gs://b/p ü")


class TestAzure(StoreContract):
    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[Store]:
        async with fake_cloud({f"p ü/{key}": body for key, body in objects.items()}) as cloud:
            yield azure(cloud).at("az://b/p ü")


async def test_azure_signs_with_the_access_key_and_sends_the_sas() -> None:
    async with fake_cloud({"a": b"abc"}) as cloud:
        keyed = AzureStore(account="acct", access_key="Q0FOQVJZ", endpoint=f"{cloud.url}/acct").at("az://b")
        assert await keyed.get("a") == b"abc"
        assert cloud.requests[-1].headers["Authorization"].startswith("SharedKey acct:")
        signed = azure(cloud).at("abfss://b@acct.dfs.core.windows.net/")
        assert await signed.get("a") == b"abc"
        assert cloud.requests[-1].query["sig"] == "CANARY"
        await keyed.aclose()
        await signed.aclose()


@pytest.mark.parametrize(
    ("status", "target"),
    [(503, ThrottledError), (429, ThrottledError), (403, AccessDeniedError), (500, ServerFailedError)],
)
async def test_one_failure_is_one_request(status: int, target: type[StoreError]) -> None:
    async with fake_cloud({"a": b"abc"}) as cloud:
        cloud.fail_with = status, "<Error><Code>Busy</Code></Error>"
        for store in (gcs(cloud).at("gs://b"), azure(cloud).at("az://b")):
            before = len(cloud.requests)
            with pytest.raises(target):
                await store.get("a")
            assert len(cloud.requests) == before + 1
            await store.aclose()


async def test_a_cut_body_is_an_error_and_no_short_sample() -> None:
    async with fake_cloud({"a": b"x" * 100_000}) as cloud:
        cloud.cut_at = 50_000
        for store in (gcs(cloud).at("gs://b"), azure(cloud).at("az://b")):
            with pytest.raises(TruncatedBodyError, match="whole answer"):
                await store.get("a")
            await store.aclose()


BIG = random.Random(0).randbytes(400_000)
CLOUDS = pytest.mark.parametrize("at", [lambda cloud: gcs(cloud).at("gs://b"), lambda cloud: azure(cloud).at("az://b")])
QUICK = Retry(base_s=0.001)


def ranges_of(cloud: FakeCloud) -> list[tuple[str, str]]:
    """What was asked for: ranges, and the version they must be of."""
    return [(request.headers.get("Range", ""), request.headers.get("If-Match", "")) for request in cloud.requests]


@CLOUDS
@pytest.mark.parametrize("byte_range", [None, (1000, 390_000)])
async def test_a_body_that_breaks_off_is_resumed(at: Any, byte_range: tuple[int, int] | None) -> None:
    async with fake_cloud({"a": BIG}) as cloud:
        store = RetryingStore(at(cloud), QUICK)
        cloud.cuts = [200_000, 100_000]
        start, stop = byte_range or (0, len(BIG))
        assert await store.get("a", byte_range) == BIG[start:stop]
        first, second, third = ranges_of(cloud)
        assert first == (f"bytes={start}-{stop - 1}" if byte_range else "", "")
        begins = [int(asked.removeprefix("bytes=").partition("-")[0]) for asked, _ in (second, third)]
        assert start + 65_536 <= begins[0] <= start + 200_000
        assert begins[0] + 65_536 <= begins[1] <= begins[0] + 100_000
        assert {tag for _, tag in (second, third)} == {etag_of(BIG)}
        assert {asked.partition("-")[2] for asked, _ in (second, third)} == {str(stop - 1)}
        await store.aclose()


async def test_a_small_range_that_comes_short_is_an_error() -> None:
    """The header names 100 bytes, and 50 are announced and come."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = [
            "HTTP/1.1 206 Partial Content",
            'ETag: "x"',
            f"Last-Modified: {WHEN}",
            "Content-Range: bytes 0-99/1000",
            "Content-Length: 50",
            "Connection: close",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + bytes(50))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = GCSStore(anonymous=True, endpoint=f"http://127.0.0.1:{port}").at("gs://b/")
    try:
        with pytest.raises(TruncatedBodyError, match="50 of 100"):
            await store.get("k", (0, 100))
    finally:
        await store.aclose()
        server.close()


@CLOUDS
async def test_a_small_body_that_breaks_off_is_asked_for_anew(at: Any) -> None:
    async with fake_cloud({"a": BIG[:50_000]}) as cloud:
        store = RetryingStore(at(cloud), QUICK)
        cloud.cuts = [20_000]
        assert await store.get("a") == BIG[:50_000]
        assert ranges_of(cloud) == [("", "")] * 2
        await store.aclose()


@CLOUDS
@pytest.mark.parametrize("ignores_if_match", [False, True])
async def test_a_body_replaced_after_it_broke_off_is_an_error(at: Any, *, ignores_if_match: bool) -> None:
    async with fake_cloud({"a": BIG}) as cloud:
        store = at(cloud)
        cloud.cuts = [200_000]
        cloud.ignores_if_match = ignores_if_match
        with pytest.raises(TruncatedBodyError) as caught:
            await store.get("a")
        assert isinstance(caught.value.partial, Partial)
        cloud.objects["a"] = BIG[::-1]
        with pytest.raises(ObjectChangedError, match="List the dataset again"):
            await store.get_rest("a", caught.value.partial)
        await store.aclose()


@CLOUDS
async def test_a_rest_whose_tag_is_weak_is_not_joined(at: Any) -> None:
    async with fake_cloud({"a": BIG}) as cloud:
        store = at(cloud)
        cloud.cuts = [200_000]
        with pytest.raises(TruncatedBodyError) as caught:
            await store.get("a")
        assert isinstance(caught.value.partial, Partial)
        cloud.weak, cloud.ignores_if_match = "W/", True
        with pytest.raises(RangeNotHonouredError, match="does not say of which object") as refused:
            await store.get_rest("a", caught.value.partial)
        assert refused.value.is_transient
        assert refused.value.partial is None  # the next try begins anew
        assert await store.get_version("a", None, etag_of(BIG)) == BIG  # all of it is of one object
        await store.aclose()


@CLOUDS
async def test_without_a_strong_tag_or_ranges_the_whole_is_asked_for_anew(at: Any) -> None:
    async with fake_cloud({"a": BIG}) as cloud:
        store = RetryingStore(at(cloud), QUICK)
        cloud.weak, cloud.cuts = "W/", [200_000]
        assert await store.get("a") == BIG
        assert ranges_of(cloud) == [("", "")] * 2
        cloud.weak, cloud.cuts, cloud.ignores_range = "", [200_000], True
        assert await store.get("a") == BIG
        assert len(cloud.requests) == 5
        await store.aclose()


@CLOUDS
async def test_a_body_cut_for_ever_is_named(at: Any) -> None:
    async with fake_cloud({"a": BIG}) as cloud:
        store = RetryingStore(at(cloud), QUICK)
        cloud.cuts = [10] * 50
        with pytest.raises(TruncatedBodyError, match="attempt 6") as caught:
            await store.get("a")
        assert caught.value.partial is None
        assert len(cloud.requests) == 6
        await store.aclose()


@CLOUDS
async def test_an_object_is_read_as_it_was_listed(at: Any) -> None:
    async with fake_cloud({"a": BIG, "b": b"small"}) as cloud:
        base = at(cloud)
        store = RetryingStore(base, QUICK)
        known = {meta.key: SampleRef(index=0, key=meta.key, etag=meta.etag) async for meta in store.list()}
        assert known["a"].etag == etag_of(BIG)
        for key, body in (("a", BIG), ("b", b"small")):
            assert await store.get(key, None, known[key]) == body
            assert await store.get(key, (1, 4), known[key]) == body[1:4]
            assert cloud.requests[-1].headers["If-Match"] == etag_of(body)
            cloud.objects[key] = body[::-1]
            for cloud.ignores_if_match in (False, True):
                for byte_range in (None, (1, 4)):
                    with pytest.raises(ObjectChangedError, match=f"://b/{key}.*List the dataset again"):
                        await store.get(key, byte_range, known[key])
        await store.aclose()


@CLOUDS
async def test_a_listing_goes_on_where_it_broke_off(at: Any) -> None:
    objects = {f"{number:04}": b"" for number in range(2500)}
    async with fake_cloud(objects) as cloud:
        cloud.page_keys = 1000
        store = RetryingStore(at(cloud), QUICK)
        found = []
        async for meta in store.list():
            found.append(meta.key)
            if len(found) in (500, 1500):
                cloud.fail_with = 503, "<Error><Code>Busy</Code></Error>"
                asyncio.get_running_loop().call_later(0.05, setattr, cloud, "fail_with", None)
        assert found == sorted(objects)
        await store.aclose()


async def test_the_first_bytes_of_an_empty_object_are_empty() -> None:
    async with fake_cloud({"a": b""}) as cloud:
        for store in (gcs(cloud).at("gs://b"), azure(cloud).at("az://b")):
            assert await store.get("a", (0, 10)) == b""
            await store.aclose()


async def test_an_object_beyond_the_limit_is_refused() -> None:
    async with fake_cloud({"a": b"x" * 11}) as cloud:
        store = gcs(cloud, max_object_bytes=10).at("gs://b")
        with pytest.raises(BodyTooLargeError, match="11 bytes, max_object_bytes is 10"):
            await store.get("a")
        assert await store.get("a", (0, 10)) == b"x" * 10
        await store.aclose()


@pytest.mark.parametrize("key", ["a//b", "a/", "/a", "a/../b", "a\n"])
async def test_a_key_that_obstore_would_change_is_refused(key: str) -> None:
    async with fake_cloud({"a": b"another", "b": b"another"}) as cloud:
        store = gcs(cloud).at("gs://b")
        with pytest.raises(StoreError, match="obstore cannot address"):
            await store.get(key)
        assert not cloud.requests


async def test_no_secret_is_in_an_error_or_a_repr() -> None:
    async with fake_cloud({"a": b"abc"}) as cloud:
        cloud.fail_with = 403, "<Error><Code>AuthenticationFailed</Code>CANARY</Error>"
        store = azure(cloud).at("az://b/x")
        copy = pickle.loads(pickle.dumps(store))
        told = [repr(store), repr(copy), store.location, store.origin]
        for attempt in (store.get("k"), store.size("k"), _listed(store)):
            try:
                await attempt
            except AccessDeniedError as error:
                told += ["".join(traceback.format_exception(error)), repr(error.__context__)]
        assert len(told) > 8
        assert "CANARY" not in "\n".join(told)
        await store.aclose()


async def _listed(store: Store) -> list[str]:
    return [meta.key async for meta in store.list()]


async def test_options_that_obstore_refuses_are_named_without_their_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    for store in (AzureStore().at("az://b"), AzureStore(account="acct", access_key="CANARY!").at("az://b")):
        with pytest.raises(OptionError, match="store=AzureStore") as caught:
            await store.get("a")
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["s3://b/x", "b/x", "az://", "az:///x", "az://b?sig=CANARY/x", "az://user@b"])
def test_a_url_that_is_not_azures_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="az://container/prefix/") as caught:
        AzureStore(account="a").at(url)
    assert "CANARY" not in str(caught.value)


def test_credentials_do_not_go_over_plain_http_to_other_machines(tmp_path: Any) -> None:
    with pytest.raises(OptionError, match="https://"):
        GCSStore(endpoint="http://storage.example.com")
    with pytest.raises(OptionError, match="https://"):
        AzureStore(account="a", sas_token=SAS, endpoint="http://blob.example.com")
    GCSStore(endpoint="http://storage.example.com", anonymous=True)


def test_two_kinds_of_credentials_are_one_too_many() -> None:
    with pytest.raises(OptionError, match="no access_key beside it") as caught:
        AzureStore(account="a", access_key="CANARY", sas_token="CANARY")
    assert "CANARY" not in str(caught.value)


async def test_an_unbound_store_says_what_is_missing() -> None:
    for store in (GCSStore(), AzureStore(account="a")):
        with pytest.raises(OptionError, match="a place too"):
            await store.get("x")
    await asyncio.sleep(0)


def test_what_shares_limits_is_a_bucket_of_one_service() -> None:
    emulator = "http://localhost:4443"
    stores = [
        GCSStore(anonymous=True),
        GCSStore(anonymous=True, endpoint=emulator),
        AzureStore(account="a", anonymous=True),
        AzureStore(account="b", anonymous=True),
        AzureStore(account="a", anonymous=True, endpoint=emulator),
    ]
    schemes = ["gs", "gs", "az", "az", "az"]
    origins = [store.at(f"{scheme}://data/x").origin for store, scheme in zip(stores, schemes, strict=True)]
    assert origins == ["gs://data", f"{emulator}/data", "az://a/data", "az://b/data", f"{emulator}/data"]
