"""What an S3 store is told: options, environment, profiles; and what it shows of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from aioloader.errors import OptionError
from aioloader.storage.s3.credentials import S3Access, find_access
from aioloader.storage.s3.keys import S3Keys
from aioloader.storage.s3.signing import bucket_url
from aioloader.storage.s3.store import S3Store, split_s3_url

if TYPE_CHECKING:
    from pathlib import Path

KEYS: dict[str, Any] = {"access_key_id": "CANARY-id", "secret_access_key": "CANARY-secret"}


@dataclass(frozen=True)
class Wrong:
    id: str
    options: dict[str, Any]
    says: str


WRONG = [
    Wrong("half a key", {"access_key_id": "CANARY-id"}, "secret_access_key"),
    Wrong("other half", {"secret_access_key": "CANARY-secret"}, "access_key_id"),
    Wrong("token alone", {"session_token": "CANARY-token"}, "access_key_id"),
    Wrong("key and profile", {**KEYS, "profile": "mine"}, "profile='mine'"),
    Wrong("key and anonymous", {**KEYS, "anonymous": True}, "anonymous=True"),
    Wrong("nobody pays", {"anonymous": True, "request_payer": True}, "cannot pay"),
    Wrong("no scheme", {"endpoint": "localhost:9000"}, "'https://s3.example.com'"),
    Wrong("another scheme", {"endpoint": "ftp://host"}, "'https://s3.example.com'"),
    Wrong("user info", {"endpoint": "https://me:CANARY@host"}, "without user info"),
    Wrong("query", {"endpoint": "https://host/?sig=CANARY"}, "without user info or query"),
    Wrong("port", {"endpoint": "https://host:port"}, "'https://s3.example.com'"),
    Wrong("plain http", {**KEYS, "endpoint": "http://s3.example.com"}, "https://"),
    Wrong("plain http, environment's key", {"endpoint": "http://10.0.0.1:9000"}, "https://"),
    Wrong("no file", {"ca_file": "/no/such/file.pem"}, "ca_file"),
    Wrong("no time", {"idle_timeout_s": 0}, "idle_timeout_s"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_an_option_that_cannot_work_is_named(case: Wrong) -> None:
    with pytest.raises(OptionError) as caught:
        S3Store(**case.options)
    assert case.says in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9", "https://h"])
def test_credentials_may_go_to_this_machine_or_over_tls(endpoint: str) -> None:
    assert S3Store(endpoint=endpoint, **KEYS).at("s3://bucket").origin == endpoint


@pytest.mark.parametrize(
    "url", ["bucket/x", "http://bucket/x", "s3://", "s3:///x", "s3://me:CANARY@bucket/x", "s3://b?sig=CANARY", ""]
)
def test_an_address_that_is_not_s3_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="s3://bucket/prefix/") as caught:
        S3Store().at(url)
    assert "CANARY" not in str(caught.value)


def test_nothing_in_an_s3_address_is_an_escape() -> None:
    assert split_s3_url("s3://bucket/a%20b/ü?x#y//") == ("bucket", "a%20b/ü?x#y//")
    assert S3Store().at("s3://bucket/a b").location == "s3://bucket/a b/"
    assert S3Store().at("s3://bucket").location == "s3://bucket/"


def test_a_repr_names_options_and_no_secret() -> None:
    store = S3Store(endpoint="https://h", region="r", session_token="CANARY-token", **KEYS).at("s3://bucket/x")
    assert repr(store) == "S3Store('s3://bucket/x/', endpoint='https://h', region='r', access_key_id=…)"
    assert "CANARY" not in repr(vars(store))


async def test_an_unbound_store_says_what_is_missing() -> None:
    with pytest.raises(OptionError, match="a place too"):
        await S3Store().get("x")


@pytest.mark.parametrize(
    ("endpoint", "region", "bucket", "expected"),
    [
        ("http://h:1", "r", "bkt", "http://h:1/bkt"),
        ("https://h/base/", "r", "bkt", "https://h/base/bkt"),
        (None, "eu-west-1", "bkt", "https://bkt.s3.eu-west-1.amazonaws.com"),
        (None, "eu-west-1", "b.kt", "https://s3.eu-west-1.amazonaws.com/b.kt"),
        (None, "cn-north-1", "bkt", "https://bkt.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_a_buckets_address(endpoint: str | None, region: str, bucket: str, expected: str) -> None:
    assert bucket_url(endpoint, region, bucket) == expected


@dataclass(frozen=True)
class Chain:
    id: str
    key_id: str | None
    environment: dict[str, str] = field(default_factory=dict)
    profile: str | None = None
    given: S3Keys | None = None
    anonymous: bool = False
    region: str = "us-east-1"
    endpoint: str | None = None


ENV = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s"}
S3_ENDPOINT = {"AWS_ENDPOINT_URL": "https://e", "AWS_ENDPOINT_URL_S3": "https://s"}
CHAINS = [
    Chain("given wins", "given", ENV, given=S3Keys(access_key_id="given", secret_access_key="s")),
    Chain("environment", "env", ENV, region="eu-1", endpoint="https://d"),
    Chain("environment before AWS_PROFILE", "env", {**ENV, "AWS_PROFILE": "mine"}, region="eu-2"),
    Chain("profile before environment", "mine", ENV, profile="mine", region="eu-2"),
    Chain("AWS_PROFILE", "mine", {"AWS_PROFILE": "mine"}, region="eu-2"),
    Chain("default profile", "default", region="eu-1", endpoint="https://d"),
    Chain("role before default profile", None, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}),
    Chain("anonymous", None, ENV, anonymous=True, region="eu-1", endpoint="https://d"),
    Chain("region", "env", {**ENV, "AWS_REGION": "eu-3", "AWS_ENDPOINT_URL": "https://e"}, region="eu-3", endpoint="https://e"),
    Chain("s3 endpoint", "env", {**ENV, **S3_ENDPOINT}, region="eu-1", endpoint="https://s"),
]  # fmt: skip


def access_in(folder: Path, case: Chain) -> S3Access:
    (folder / ".aws").mkdir(exist_ok=True)
    (folder / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id=default\naws_secret_access_key=a%b\n"
        "[mine]\naws_access_key_id=mine\naws_secret_access_key=s\naws_session_token=t\n"
    )
    (folder / ".aws" / "config").write_text(
        "[default]\nregion=eu-1\nendpoint_url=https://d\n[profile mine]\nregion=eu-2\n[profile sso]\nsso_session=x\n"
    )
    return find_access(
        keys=case.given,
        profile=case.profile,
        region=None,
        endpoint=None,
        anonymous=case.anonymous,
        environment={"HOME": str(folder), **case.environment},
    )


@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case.id)
def test_credentials_are_looked_for_in_botos_order(case: Chain, tmp_path: Path) -> None:
    access = access_in(tmp_path, case)
    assert (access.keys.access_key_id if access.keys is not None else None) == case.key_id
    assert access.provider is None
    if case.given is None:
        assert (access.region, access.endpoint) == (case.region, case.endpoint)
    assert "access_key_id" not in repr(access)


def test_an_unknown_profile_is_named_with_the_files(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"profile='other'.*credentials.*config"):
        access_in(tmp_path, Chain("", None, profile="other"))


def test_a_profile_without_a_static_key_needs_boto3_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(OptionError, match=r"profile='sso'.*pip install boto3"):
        access_in(tmp_path, Chain("", None, profile="sso"))


def test_a_broken_credentials_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("CANARY without a section\n")
    with pytest.raises(OptionError, match="a readable INI file") as caught:
        find_access(
            keys=None,
            profile="mine",
            region=None,
            endpoint=None,
            anonymous=False,
            environment={"HOME": str(tmp_path), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "broken")},
        )
    assert "CANARY" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("pays", [True, False])
async def test_who_pays_is_said_in_the_signed_request(*, pays: bool) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query_string.lower())
        return web.Response(body=b"abc")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        store = S3Store(endpoint=endpoint, region="us-east-1", request_payer=pays, **KEYS).at("s3://bucket/")
        assert await store.get("a.bin") == b"abc"
        await store.aclose()
    assert ["x-amz-request-payer=requester" in query for query in asked] == [pays]
    assert all("x-amz-signature=" in query for query in asked)
