"""An S3 service that does wrong on demand: pages that fail or come again, tokens that run out, a clock of its own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5
from time import monotonic
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

from tests.faults.own_loop import on_own_loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class FakeS3:
    """One bucket, ``bbb``, at ``url``. Signatures are not checked, session tokens are.

    ``page_keys`` entries are on a page of a listing. ``page_faults`` are what its first requests meet, in turn:
    ``"503"``, ``"reset"`` (half of the page, then nothing), ``"silent"`` or ``"good"``; all further ones meet ``"same
    token"`` or ``"empty"`` once it is reached. ``ignores_start_after`` as some services do.

    ``token_s``: a session token that ``/credentials`` gives is refused so long after it was given; those are given
    unless ``is_down``, and said to end after ``told_s``. ``denies`` is the code word of all answers, with a message
    behind a colon. Its clock is ``ahead_s``, which ``tells_time``. It is too ``busy`` for so many objects.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes],
        *,
        page_keys: int = 1000,
        page_faults: Sequence[str] = (),
        token_s: float | None = None,
        told_s: float = 3600.0,
        ahead_s: float = 0.0,
        ignores_start_after: bool = False,
        latency_s: float = 0.0,
    ) -> None:
        self.objects = dict(objects)
        self.page_keys = page_keys
        self.page_faults = list(page_faults)
        self.token_s = token_s
        self.told_s = told_s
        self.ahead_s = ahead_s
        self.ignores_start_after = ignores_start_after
        self.latency_s = latency_s
        self.is_down = False
        self.denies = ""
        self.tells_time = True
        self.busy = 0
        self.pages: list[dict[str, str]] = []
        self.given: dict[str, float] = {}
        self.asked_for_credentials = 0
        self.refused = 0
        self.answered: Counter[str] = Counter()
        self.asked: defaultdict[str, int] = defaultdict(int)
        self.url = ""

    async def __aenter__(self) -> Self:
        self._ended = asyncio.Event()
        app = web.Application()
        app.router.add_get("/credentials", self._credentials)
        app.router.add_post("/t/oauth2/v2.0/token", self._token)
        app.router.add_get("/computeMetadata/v1/instance/service-accounts/default/token", self._token)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended.set()
        await self._runner.cleanup()

    async def _credentials(self, request: web.Request) -> web.Response:
        self.asked_for_credentials += 1
        if self.is_down:
            return web.Response(status=500)
        token = f"token-{len(self.given)}"
        self.given[token] = monotonic()
        end = datetime.now(UTC) + timedelta(seconds=self.told_s)
        keys = {"AccessKeyId": "id", "SecretAccessKey": "secret", "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        both = {"Version": 1, "Token": token, "SessionToken": token}  # a container's words, and a program's
        return web.Response(text=json.dumps(keys | both), content_type="application/json")

    async def _token(self, request: web.Request) -> web.Response:
        """As Azure's directory gives it, and the metadata service of Google's machines."""
        self.asked_for_credentials += 1
        if self.is_down:
            return web.Response(status=500)
        token = {"access_token": f"token-{self.asked_for_credentials}", "expires_in": int(self.told_s)}
        return web.Response(text=json.dumps(token), content_type="application/json")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.latency_s)
        key = unquote(request.raw_path.partition("?")[0]).removeprefix("/bbb").removeprefix("/")
        self.asked[key] += 1
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused += 1
            return refusal
        if request.query.get("list-type") == "2":
            return await self._page(request)
        body = self.objects.get(key)
        if body is None:
            return self._error(404, "NoSuchKey")
        if self.busy:
            self.busy -= 1
            return self._error(503, "SlowDown")
        etag = f'"{md5(body, usedforsecurity=False).hexdigest()}"'
        if request.headers.get("If-Match", etag) != etag:
            return self._error(412, "PreconditionFailed")
        self.answered[key] += 1
        return web.Response(body=body, headers={"ETag": etag, "Last-Modified": "Mon, 23 Nov 2026 07:00:00 GMT"})

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.denies:
            return self._error(403, self.denies)
        if self.token_s is None:
            return None
        fields = {name.lower(): value for name, value in {**request.headers, **request.query}.items()}
        given_s = self.given.get(fields.get("x-amz-security-token", ""))
        if given_s is None:
            return self._error(403, "InvalidAccessKeyId")
        return self._error(400, "ExpiredToken") if monotonic() - given_s > self.token_s else None

    def _error(self, status: int, code: str) -> web.Response:
        now = datetime.now(UTC) + timedelta(seconds=self.ahead_s)
        code, _, message = code.partition(": ")
        time = f"<ServerTime>{now:%Y-%m-%dT%H:%M:%SZ}</ServerTime>" if self.tells_time else ""
        text = f"<Error><Code>{code}</Code><Message>{message}</Message>{time}</Error>"
        date = format_datetime(now.replace(microsecond=0), usegmt=True)
        return web.Response(status=status, text=text, headers={"Date": date}, content_type="application/xml")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        fault = self.page_faults[0] if self.page_faults else ""
        if fault in ("503", "reset", "silent", "good"):
            self.page_faults.pop(0)
        self.pages.append(dict(request.query) | {"fault": fault})
        if fault == "503":
            return self._error(503, "SlowDown")
        if fault == "silent":
            await self._ended.wait()
        text = self._listing(request.query, fault)
        if fault != "reset":
            return web.Response(text=text, content_type="application/xml")
        response = web.StreamResponse(headers={"Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    def _listing(self, query: Mapping[str, str], fault: str) -> str:
        after = query.get("continuation-token", "" if self.ignores_start_after else query.get("start-after", ""))
        keys = [key for key in sorted(self.objects) if key.startswith(query.get("prefix", "")) and key > after]
        some, more = keys[: self.page_keys], len(keys) > self.page_keys
        if fault == "empty":
            some, more = [], True
        token = some[-1] if some else "begin"
        if fault == "same token" and after:
            token, more = after, True
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
            f"<LastModified>2026-11-23T07:00:00.000Z</LastModified>"
            f'<ETag>"{md5(self.objects[key], usedforsecurity=False).hexdigest()}"</ETag></Contents>'
            for key in some
        )
        following = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{entries}{following}</ListBucketResult>"
        )


@contextmanager
def in_a_thread(server: FakeS3) -> Iterator[FakeS3]:
    """``server`` on a loop of its own."""
    with on_own_loop(server):
        yield server
