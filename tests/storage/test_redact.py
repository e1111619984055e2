"""No secret is printed: not by the redactor, not by any error, log or repr of a store."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from aioloader.errors import AioloaderError, OptionError
from aioloader.redact import printable_key, redact_url
from aioloader.storage.absolute import AbsoluteStore
from aioloader.storage.cloud.gcs import GCSStore
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.http.whole_url import WholeURL
from aioloader.storage.memory import MemoryStore
from aioloader.storage.s3.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.storage.conftest import BucketFactory, Closing, RawFactory

CANARY = "cAnArY7"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a/b.jpg", "https://host/a/b.jpg"),
        ("https://me:pw@host:81/a", "https://host:81/a"),
        ("https://me@host/a?x=1&y=2#frag", "https://host/a?x=…&y=…"),
        ("https://host/?token&a=", "https://host/?…&a=…"),
        ("https://host/a?x=1;y=2", "https://host/a?x=…"),
        ("https://a@b:pw@host/", "https://host/"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
        ("https://host:pw/", "<unreadable address>"),
        ("https://[host/?x=1", "<unreadable address>"),
        ("plain/path", "plain/path"),
        ("bob:pw@proxy:3128", "proxy:3128"),
        ("bob:12/pw@proxy:3128", "proxy:3128"),
        ("//bob:pw@host/a", "//host/a"),
        ("https:/bob:pw@host/a", "host/a"),
        ("https:///bob:pw@host/a", "https:///host/a"),
        ("file:///a/b@c", "file:///a/b@c"),
        ("https://bob:12/pw@host", "https://host"),
        ("https://bob:p/w@host/a?x=1", "https://host/a?x=…"),
        ("https://bob:p#w@host/a", "https://host/a"),
        ("s3://key:sec/ret@bucket/x", "s3://bucket/x"),
        ("https://host/a@2x.png", "https://host/a@2x.png"),
        ("https://host.name:80/a@2x.png?u=b@c", "https://host.name:80/a@2x.png?u=…"),
        ("http://127.0.0.1:80/a@2x.png", "http://127.0.0.1:80/a@2x.png"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def secret_proxy() -> object:
    return HTTPStore(proxy=f"bob:{CANARY}@proxy:3128")


def secret_endpoint() -> object:
    return S3Store(endpoint=f"bob:{CANARY}@host:9000")


def secret_allowed_host() -> object:
    return AbsoluteStore(MemoryStore(), allow_hosts=[f"https://bob:{CANARY}@host/?sig={CANARY}"])


def secret_list_of_hosts() -> object:
    return AbsoluteStore(MemoryStore(), allow_hosts=f"https://bob:{CANARY}@host/")


def secret_key_in_place_of_its_file() -> object:
    return GCSStore(service_account_file='{"private_key": "' + CANARY + '"}')


def secret_with_a_slash() -> object:
    return HTTPStore().at(f"https://bob:12/{CANARY}@host")


def secret_in_a_whole_address() -> object:
    return WholeURL.parse(f"https://bob:12/{CANARY}@host")


@pytest.mark.parametrize(
    "make",
    [
        secret_proxy,
        secret_endpoint,
        secret_allowed_host,
        secret_list_of_hosts,
        secret_key_in_place_of_its_file,
        secret_with_a_slash,
        secret_in_a_whole_address,
    ],
    ids=lambda make: make.__name__,
)
def test_an_option_that_is_refused_is_told_without_its_secret(make: Callable[[], object]) -> None:
    with pytest.raises(OptionError) as caught:
        make()
    assert CANARY not in repr(caught.value) + str(caught.value)


def test_a_key_cannot_forge_a_line_of_a_log() -> None:
    assert printable_key("ü 🐈.jpg") == "ü 🐈.jpg"
    assert printable_key("a\nERROR b\x1b[2J\u202e\ud800") == r"a\nERROR b\x1b[2J\u202e\ud800"


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """All log messages of all libraries, at every level."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, handler = logging.getLogger(), Keep()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


def test_the_repr_shows_names_only() -> None:
    store = HTTPStore(headers={"X-Api-Key": CANARY}, proxy=f"http://me:{CANARY}@127.0.0.1:3128").at(
        f"https://host/a/?sig={CANARY}"
    )
    assert repr(store) == "HTTPStore(headers=['X-Api-Key'], proxy='http://127.0.0.1:3128').at('https://host/a/')"
    assert CANARY not in repr(vars(store))
    with_user = HTTPStore(headers=lambda: {"X": CANARY}).at("https://host/")
    assert repr(with_user) == "HTTPStore(headers=<function>).at('https://host/')"


async def test_no_error_log_or_traceback_of_a_request_holds_a_secret(
    bucket: BucketFactory, raw: RawFactory, closing: Closing, everything_logged: list[str]
) -> None:
    answers = [
        *(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode() for status in (400, 401, 403, 404, 412, 416)),
        *(f"HTTP/1.1 {status} {CANARY}\r\nContent-Length: 0\r\n\r\n".encode() for status in (429, 500, 503)),
        f"HTTP/1.1 403 x\r\nContent-Length: 40\r\n\r\n<Code>Bad</Code><K>{CANARY}</K>".ljust(75).encode(),
        f"HTTP/1.1 302 x\r\nLocation: http://x:{CANARY}@10.1.1.1:1/?a={CANARY}\r\nContent-Length: 0\r\n\r\n".encode(),
        f"HTTP/1.1 302 x\r\nLocation: file:///{CANARY}\r\nContent-Length: 0\r\n\r\n".encode(),
        f"HTTP/1.1 302 x\r\nLocation: ?{CANARY}\r\nContent-Length: 0\r\n\r\n".encode(),
        f"HTTP/1.1 429 x\r\nRetry-After: {CANARY}\r\nContent-Length: 0\r\n\r\n".encode(),
        b"not http at all\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 x\r\nContent-Range: bytes 5-6/9\r\nContent-Length: 1\r\n\r\nx",
    ]
    failures: list[str] = []

    async def fail(url: str) -> None:
        store = closing(
            HTTPStore(headers={"X-Api-Key": CANARY}, connect_timeout_s=0.2, idle_timeout_s=0.2).at(
                url.replace("//", f"//me:{CANARY}@") + f"?sig={CANARY}&{CANARY}"
            )
        )
        for attempt in (
            store.get("a.bin"),
            store.get("a.bin", (0, 4)),
            store.size("a.bin"),
            anext(aiter(store.list())),
        ):
            try:
                await attempt
            except AioloaderError as error:
                failures.append("".join(traceback.format_exception(error)))
                failures.append(repr(error) + repr(pickle.loads(pickle.dumps(error))))

    for answer in answers:
        async with raw(answer) as server:
            await fail(server.url)
    async with bucket({}, answer=_unavailable) as unavailable:
        await fail(unavailable.url)
        await fail(unavailable.url.replace("http:", "https:"))
    await fail(unavailable.url)  # closed by now
    await fail("https://nobody.invalid/")
    assert len(failures) > 4 * len(answers)
    told = [line for text in failures + everything_logged for line in text.splitlines() if CANARY in line]
    assert not told


async def _unavailable(request: web.Request) -> web.StreamResponse:
    raise web.HTTPServiceUnavailable(text=CANARY)
