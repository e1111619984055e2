"""GCS and Azure through obstore, against small servers that speak just enough of their dialects.

No real service and no vendor's emulator was asked: what is shown is our side and obstore's.
"""

from __future__ import annotations

import asyncio
import pickle
import re
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from aioloader.errors import (
    AccessDeniedError,
    BodyTooLargeError,
    OptionError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TruncatedBodyError,
)
from aioloader.storage.azure import AzureStore
from aioloader.storage.gcs import GCSStore
from aioloader.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aioloader.types import Store

WHEN = "Mon, 23 Nov 2026 07:00:00 GMT"
SAS = "sv=2026-01-01&sig=CANARY"


class FakeCloud:
    """One bucket (or container) ``b``; GCS' XML API, or Azure's below ``/acct``."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.requests: list[web.Request] = []
        self.fail_with: tuple[int, str] | None = None
        self.cut_at: int | None = None
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
        headers = {"ETag": '"e1"', "Last-Modified": WHEN}
        if request.method == "HEAD":  # aiohttp itself tells no length of an empty body
            return web.Response(headers={**headers, "Content-Length": str(len(body))})
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None:
            if self.cut_at is not None:
                return await self._cut(request, body, headers)
            return web.Response(body=body, headers=headers)
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(body))
        if start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        return web.Response(status=206, body=body[start:stop], headers=headers)

    async def _cut(self, request: web.Request, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: self.cut_at])
        assert request.transport is not None
        request.transport.close()
        return response

    def _listing(self, request: web.Request) -> str:
        found = [key for key in sorted(self.objects) if key.startswith(request.query.get("prefix", ""))]
        if request.query.get("comp") == "list":
            blobs = "".join(
                f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{WHEN}</Last-Modified>"
                f"<Content-Length>{len(self.objects[key])}</Content-Length><Content-Type>x/y</Content-Type>"
                "<Etag>e1</Etag></Properties></Blob>"
                for key in found
            )
            return f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
            "<LastModified>2026-11-23T07:00:00.000Z</LastModified><ETag>e1</ETag></Contents>"
            for key in found
        )
        return f"<ListBucketResult>{contents}</ListBucketResult>"


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
