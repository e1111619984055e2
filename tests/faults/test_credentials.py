"""Credentials that run out in mid-epoch: renewed once for all requests, asked once more, and then final."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import aioloader as al
from aioloader.errors import AccessDeniedError, StoreError
from aioloader.storage.cloud.azure import AzureStore
from aioloader.storage.cloud.gcs import GCSStore
from aioloader.storage.policies.origin_state import state_of
from aioloader.storage.policies.retry import Retry
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.storage.s3 import signing as s3_signing
from aioloader.storage.s3.store import S3Store
from tests.faults.fake_s3 import FakeS3, in_a_thread
from tests.storage.conftest import run_bucket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.storage.conftest import NewStore

QUICK = Retry(base_s=0.001)
OBJECTS = {f"{number:04}.bin": number.to_bytes(4, "big") for number in range(600)}
KEYS: dict[str, Any] = {"access_key_id": "id", "secret_access_key": "secret"}


def container(server: FakeS3, folder: Path, patch: pytest.MonkeyPatch) -> S3Store:
    """A store whose keys obstore gets from the endpoint that containers have."""
    (folder / "token").write_text("x")
    patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
    patch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(folder / "token"))
    return S3Store(endpoint=server.url, region="us-east-1").at("s3://bbb/")


def profile(server: FakeS3, folder: Path, patch: pytest.MonkeyPatch) -> S3Store:
    """A store whose keys a program gives, through boto3."""
    program = folder / "program.py"
    program.write_text(f"import urllib.request as u; print(u.urlopen('{server.url}/credentials').read().decode())")
    (folder / "config").write_text(f"[profile mine]\ncredential_process = {sys.executable} {program}\n")
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
    return S3Store(endpoint=server.url, region="us-east-1", profile="mine").at("s3://bbb/")


DENIED = (
    "s3://bbb/0000.bin: fetch failed: the server answered 403 Forbidden (AccessDenied). "
    "Check the credentials and their rights."
)

both = pytest.mark.parametrize("make", [container, profile])


def number(data: bytes) -> np.ndarray[Any, Any]:
    return np.array([int.from_bytes(data, "big")])


@pytest.mark.fault(row=12, stores=("s3",))
@both
@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_an_epoch_outlives_its_credentials(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, use_multiprocessing: bool
) -> None:
    with in_a_thread(FakeS3(OBJECTS, token_s=1.0, latency_s=0.3)) as server:
        data = al.from_samples(list(OBJECTS), store=make(server, tmp_path, monkeypatch))
        began_s = time.monotonic()
        with al.Loader(
            data,
            decode=number,
            batch_size=8,
            concurrency=64,
            shuffle=True,
            seed=1,
            drop_last=False,
            use_multiprocessing=use_multiprocessing,
            workers=2,
            retry=Retry(hedge_share=0),  # requests are counted
        ) as loader:
            ids = sorted(int(value) for (batch,) in loader for value in batch[:, 0])
            counts = loader.stats().engine.requests
        took_s = time.monotonic() - began_s
    assert ids == list(range(600))
    clients = 2 if use_multiprocessing else 1
    assert clients < server.asked_for_credentials <= clients * (took_s + 2)
    if use_multiprocessing:  # a worker writes its counts from time to time
        assert 0 < counts.refreshed <= server.asked_for_credentials - clients
    else:
        assert counts.refreshed == server.asked_for_credentials - clients
    assert counts.retries == 0
    assert server.refused <= 64 * counts.refreshed


async def first_answers(store: S3Store) -> None:
    assert await store.get("0000.bin") == OBJECTS["0000.bin"]


@pytest.mark.fault(row=12, stores=("s3",))
@both
async def test_sixty_four_refusals_are_one_renewal(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS, token_s=1e9) as server:
        store = make(server, tmp_path, monkeypatch)
        state = state_of(store.origin)
        await first_answers(store)
        server.given.clear()
        server.given["used"] = 0.0  # so that the next token has another name
        found = await asyncio.gather(*(store.get(key) for key in list(OBJECTS)[:64]))
        assert found == list(OBJECTS.values())[:64]
        assert server.asked_for_credentials == 2
        assert server.refused == 64
        assert state.counts.refreshed == 1
        await store.aclose()


@pytest.mark.fault(row=12, stores=("s3",))
@both
async def test_a_second_refusal_is_final(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS, token_s=-1.0) as server:
        store = RetryingStore(make(server, tmp_path, monkeypatch), QUICK)
        for attempt in (store.get("0000.bin"), store.get("0000.bin", (0, 2)), _listed(store)):
            before = server.refused
            with pytest.raises(AccessDeniedError, match=r"ExpiredToken.*were renewed, and the store refuses the new"):
                await attempt
            assert server.refused == before + 2
        await store.aclose()


async def test_what_is_denied_keeps_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS, token_s=1e9) as server:
        store = container(server, tmp_path, monkeypatch)
        server.denies = "AccessDenied"
        with pytest.raises(AccessDeniedError) as caught:
            await store.get("0000.bin")
        assert str(caught.value) == DENIED
        assert server.refused == 2
        with pytest.raises(AccessDeniedError, match="AccessDenied"):
            await store.size("0000.bin")
        await store.aclose()


@pytest.mark.fault(row=12, stores=("s3",))
async def test_static_keys_are_not_renewed() -> None:
    async with FakeS3(OBJECTS, token_s=-1.0) as server:
        server.given["mine"] = 0.0
        store = S3Store(endpoint=server.url, region="us-east-1", session_token="mine", **KEYS).at("s3://bbb/")
        with pytest.raises(AccessDeniedError, match=r"ExpiredToken.*renew them"):
            await RetryingStore(store, QUICK).get("0000.bin")
        assert server.refused == 1
        assert server.asked_for_credentials == 0
        await store.aclose()


@both
async def test_who_gives_credentials_may_be_down_for_a_moment(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeS3(OBJECTS, token_s=0.2) as server:
        store = make(server, tmp_path, monkeypatch)
        await first_answers(store)
        await asyncio.sleep(0.3)
        server.is_down = True
        asyncio.get_running_loop().call_later(0.3, setattr, server, "is_down", False)
        await asyncio.gather(*(store.get(key) for key in list(OBJECTS)[:64]))
        await store.aclose()


async def test_obstore_may_not_get_new_ones_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS, token_s=1e9, told_s=10) as server:  # less than five minutes: obstore asks again
        store = RetryingStore(container(server, tmp_path, monkeypatch), Retry(base_s=0.2))
        assert await store.get("0000.bin") == OBJECTS["0000.bin"]
        await asyncio.sleep(0.2)
        server.is_down = True
        asyncio.get_running_loop().call_later(0.3, setattr, server, "is_down", False)
        for key in list(OBJECTS)[:10]:
            assert await store.get(key) == OBJECTS[key]
        assert server.refused == 0
        await store.aclose()


async def test_what_is_still_valid_is_used_while_none_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_signing, "LOOK_AGAIN_S", 0.05)
    async with FakeS3(OBJECTS, token_s=1e9, told_s=60) as server:  # boto3 wants newer ones at once
        store = profile(server, tmp_path, monkeypatch)
        await first_answers(store)
        server.is_down = True
        for key in list(OBJECTS)[:5]:
            await asyncio.sleep(0.06)
            assert await store.get(key) == OBJECTS[key]
        given = len(server.given)
        assert server.asked_for_credentials > given
        server.is_down = False
        await asyncio.sleep(0.06)
        await first_answers(store)
        assert len(server.given) == given + 1
        assert server.refused == 0
        await store.aclose()


@both
async def test_a_listing_goes_on_with_renewed_credentials(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeS3(OBJECTS, token_s=0.5, page_keys=50, latency_s=0.1) as server:
        store = make(server, tmp_path, monkeypatch)
        assert await _listed(store) == sorted(OBJECTS)
        assert 2 <= server.asked_for_credentials <= 6
        await store.aclose()


async def _listed(store: Any) -> list[str]:
    return [meta.key async for meta in store.list()]


CLOCKS = [(1200.0, "20 minutes behind"), (-1200.0, "20 minutes ahead of"), (90_000.0, "25 hours behind")]


def requests_of(store: Any) -> list[Callable[[], Awaitable[object]]]:
    """One of each kind."""
    return [lambda: store.get("0000.bin"), lambda: store.size("0000.bin"), lambda: _listed(store)]


@pytest.mark.fault(row=13, stores=("s3",))
@pytest.mark.parametrize("tells_time", [True, False])
@pytest.mark.parametrize(("ahead_s", "words"), CLOCKS)
async def test_a_wrong_clock_is_named(
    ahead_s: float, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tells_time: bool
) -> None:
    async with FakeS3(OBJECTS, ahead_s=ahead_s) as server:
        server.denies, server.tells_time = "RequestTimeTooSkewed", tells_time
        store = RetryingStore(container(server, tmp_path, monkeypatch), QUICK)
        for request in requests_of(store):
            with pytest.raises(AccessDeniedError) as caught:
                await request()
            assert f"failed: this machine's clock is {words} the server's, which refuses" in str(caught.value)
            assert str(caught.value).endswith("Set it (NTP), and run again.")
            assert not caught.value.is_transient
            assert not caught.value.skippable
        # A size takes HEAD, GET of a byte, and GET to know why; a listing that does not tell the time one GET more.
        assert server.refused == (5 if tells_time else 6)
        assert server.asked_for_credentials == 1
        await store.aclose()


@pytest.mark.fault(row=13, stores=("s3",))
@pytest.mark.parametrize(("ahead_s", "words"), CLOCKS)
async def test_what_a_wrong_clock_signed_is_denied_by_some(ahead_s: float, words: str) -> None:
    async with FakeS3(OBJECTS, ahead_s=ahead_s) as server:
        server.denies = "AccessDenied: Request has expired"
        store = S3Store(endpoint=server.url, region="us-east-1", **KEYS).at("s3://bbb/")
        for request in requests_of(store)[:2]:
            with pytest.raises(AccessDeniedError, match=rf"his machine's clock is {words} the server's.*et it \(NTP\)"):
                await request()
        await store.aclose()


@pytest.mark.fault(row=13, stores=("s3",))
@pytest.mark.parametrize("ahead_s", [0.0, -600.0, 600.0])
async def test_a_clock_that_is_right_is_not_blamed(ahead_s: float) -> None:
    async with FakeS3(OBJECTS, ahead_s=ahead_s) as server:
        server.denies = "AccessDenied"
        store = S3Store(endpoint=server.url, region="us-east-1", **KEYS).at("s3://bbb/")
        with pytest.raises(AccessDeniedError) as caught:
            await store.get("0000.bin")
        assert str(caught.value) == DENIED
        await store.aclose()


# -- a function for headers= ----------------------------------------------------------------------------------


class Gate:
    """A web server that takes one token at a time, and a function that gives tokens."""

    def __init__(self) -> None:
        self.wanted = "token-0"
        self.calls = 0
        self.refused = 0
        self.status = 401
        self.failing = False
        self._given = "token-0"

    def headers(self) -> dict[str, str]:
        """The token it has."""
        self.calls += 1
        if self.failing:
            raise TimeoutError
        return {"Authorization": f"Bearer {self._given}"}

    async def answer(self, request: web.Request) -> web.Response:
        """By the token."""
        await asyncio.sleep(0.05)
        if request.headers.get("Authorization") != f"Bearer {self.wanted}":
            self.refused += 1
            self._given = self.wanted  # the function learns it after the refusal
            return web.Response(status=self.status)
        return web.Response(body=request.path.encode())


@pytest.mark.fault(row=12, stores=("http",))
@pytest.mark.parametrize("status", [401, 403])
async def test_headers_are_asked_for_once_more_for_all(status: int, http: NewStore) -> None:
    gate = Gate()
    gate.status = status
    async with run_bucket({}, answer=gate.answer) as server:
        store = http(headers=gate.headers).at(server.url)
        state = state_of(store.origin)
        assert await store.get("x") == b"/root/x"
        gate.wanted = "token-1"
        found = await asyncio.gather(*(store.get(f"{number}") for number in range(64)))
        assert found == [f"/root/{number}".encode() for number in range(64)]
        assert gate.refused == 64
        assert gate.calls == 1 + 64 + 1
        assert state.counts.refreshed == 1
        assert await store.get("x", (0, 1)) == b"/"
        assert gate.calls == 67
        gate.wanted = "token-2"
        assert await store.size("x") == 7
        await store.aclose()


@pytest.mark.fault(row=12, stores=("http",))
async def test_headers_that_stay_the_same_are_refused_once(http: NewStore) -> None:
    gate = Gate()
    async with run_bucket({}, answer=gate.answer) as server:
        for headers in ({"Authorization": "x"}, lambda: {"Authorization": "x"}):
            store = http(headers=headers).at(server.url)
            before = gate.refused
            with pytest.raises(AccessDeniedError):
                await RetryingStore(store, QUICK).get("x")
            assert gate.refused == before + 1
            await store.aclose()


async def test_headers_that_always_change_are_refused_twice(http: NewStore) -> None:
    gate = Gate()
    tokens = iter(range(1000))
    async with run_bucket({}, answer=gate.answer) as server:
        store = http(headers=lambda: {"Authorization": f"{next(tokens)}"}).at(server.url)
        with pytest.raises(AccessDeniedError):
            await store.get("x")
        assert gate.refused == 2
        await store.aclose()


async def test_headers_are_used_on_while_their_function_fails(http: NewStore) -> None:
    gate = Gate()
    async with run_bucket({}, answer=gate.answer) as server:
        store = http(headers=gate.headers).at(server.url)
        await store.get("x")
        gate.failing = True
        await store.get("x")
        gate.wanted = "token-1"
        with pytest.raises(AccessDeniedError, match="headers= function raised TimeoutError"):
            await store.get("x")
        gate.failing = False
        await store.get("x")
        await store.aclose()


# -- Google and Azure -----------------------------------------------------------------------------------------


@pytest.fixture
def account_file(tmp_path: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"private_key": pem, "private_key_id": "1", "client_email": "a@b"}))
    return path


@pytest.mark.fault(row=12, stores=("gcs",))
@pytest.mark.blocks(reason="the options look whether the file exists")
async def test_google_is_asked_once_more_with_new_credentials(account_file: Path) -> None:
    async with FakeS3(OBJECTS) as server:
        store = GCSStore(service_account_file=account_file, endpoint=server.url).at("gs://bbb")
        await _asked_twice(server, store)
        await _asked_once(server, GCSStore(endpoint=server.url, anonymous=True).at("gs://bbb"))


async def _asked_twice(server: FakeS3, store: Any) -> None:
    state = state_of(store.origin)
    for attempt in (store.get("0000.bin"), store.size("0000.bin"), _listed(store)):
        server.denies, before, renewed = "AuthenticationFailed", server.refused, state.counts.refreshed
        with pytest.raises(StoreError):
            await attempt
        assert server.refused == before + 2
        assert state.counts.refreshed == renewed + 1
    server.denies = ""
    assert await store.get("0000.bin") == OBJECTS["0000.bin"]
    await store.aclose()


async def _asked_once(server: FakeS3, store: Any) -> None:
    server.denies, before = "AuthenticationFailed", server.refused
    with pytest.raises(AccessDeniedError):
        await store.get("0000.bin")
    assert server.refused == before + 1
    await store.aclose()


def google_machine(server: FakeS3, patch: pytest.MonkeyPatch) -> GCSStore:
    """A store whose tokens obstore gets from the machine's metadata service."""
    for name in ("HOST", "IP"):  # asked in turn
        patch.setenv(f"GCE_METADATA_{name}", server.url.removeprefix("http://"))
    return GCSStore(endpoint=server.url).at("gs://bbb")


def azure_application(server: FakeS3, patch: pytest.MonkeyPatch) -> AzureStore:
    """A store whose tokens obstore gets from the directory, by a client's secret."""
    for name, value in {"CLIENT_ID": "i", "CLIENT_SECRET": "s", "TENANT_ID": "t", "AUTHORITY_HOST": server.url}.items():
        patch.setenv(f"AZURE_{name}", value)
    return AzureStore(account="acct", endpoint=server.url).at("az://bbb")


@pytest.mark.parametrize("make", [google_machine, azure_application])
async def test_who_gives_tokens_may_be_down_for_a_moment(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS, told_s=10) as server:  # less than five minutes: obstore asks for each request
        store = RetryingStore(make(server, monkeypatch), Retry(base_s=0.2))
        assert await store.get("0000.bin") == OBJECTS["0000.bin"]
        before = server.asked_for_credentials
        await asyncio.sleep(0.2)  # obstore holds a token for a moment, whatever it was told
        server.is_down = True
        asyncio.get_running_loop().call_later(0.3, setattr, server, "is_down", False)
        for key in list(OBJECTS)[:10]:
            assert await store.get(key) == OBJECTS[key]
        assert state_of(store.origin).counts.retries > 0
        assert server.asked_for_credentials > before + 1
        await store.aclose()


async def test_a_metadata_service_that_never_gave_a_token_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS, told_s=10) as server:
        server.is_down = True
        store = RetryingStore(google_machine(server, monkeypatch), QUICK)
        with pytest.raises(AccessDeniedError, match="the machine's metadata service gave none") as caught:
            await store.get("0000.bin")
        assert caught.value.attempts == 1
        assert not caught.value.is_transient
        assert server.asked_for_credentials == 4  # at both addresses, and once more anew
        await store.aclose()


@pytest.mark.fault(row=12, stores=("azure",))
async def test_azure_is_asked_once_more_with_new_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeS3(OBJECTS) as server:
        store = azure_application(server, monkeypatch)
        await _asked_twice(server, store)
        assert server.asked_for_credentials == 4
        static = AzureStore(account="acct", access_key="Q0FOQVJZ", endpoint=server.url)
        await _asked_once(server, static.at("az://bbb"))
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "Q0FOQVJZ")
        await _asked_once(server, AzureStore(account="acct", endpoint=server.url).at("az://bbb"))
