"""`LocalBucket`: a folder over HTTP, read-only, answering as badly as its manners say."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote_to_bytes

from aiohttp import web

from aioloader.errors import OptionError
from aioloader.serve.folder import FolderTree
from aioloader.serve.manners import Manners
from aioloader.serve.pace import CHUNK_BYTES, SharedLine, sleep_until
from aioloader.serve.reply import FileSlice, Reply, reply, say
from aioloader.serve.tally import BucketStatistics, Tally

if TYPE_CHECKING:
    import os

_BACKLOG = 4096  # thousands of clients may connect in one tick
_SHUTDOWN_TIMEOUT_S = 0.1  # aiohttp reads 0 as for ever

_log = logging.getLogger("aioloader.serve")


class LocalBucket:
    """Serves ``folder`` while entered: ``async with LocalBucket(folder, Manners()) as bucket: bucket.url``.

    GET and HEAD of every file with ETag (mtime and size), If-Match, If-None-Match and single ranges; keys are
    percent-encoded UTF-8. A folder's URL gives an HTML page of links, ``index.jsonl`` in any folder (unless
    that file exists) one JSON line ``{"key", "size", "etag"}`` for each file below it. Nothing outside the
    folder can be read, by ``..`` or by symbolic link. ``port=0`` takes a free one. Files are read in the
    running loop's default executor, 256 KiB at a time; one that changes meanwhile cuts its connection.

    Entering raises `OptionError` for a folder that does not exist and for an address that cannot be had.
    Leaving cuts off requests in progress. May be entered once.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        manners: Manners | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._folder = folder
        self._host = host
        self._port = port
        self._url = ""
        self._tally = Tally()
        self.behave(manners if manners is not None else Manners())
        self._runner: web.ServerRunner | None = None

    def behave(self, manners: Manners) -> None:
        """Other manners from now on, for requests that come; from any thread."""
        self.manners = manners
        self._tokens = manners.token_bucket()
        self._line = SharedLine(manners.bandwidth_bytes_per_s)

    @property
    def url(self) -> str:
        """The root's URL with its final slash; empty before it is entered."""
        return self._url

    @property
    def folder(self) -> Path:
        """The folder that is served."""
        return Path(self._folder)

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """How often each ``(method, key)`` was asked for, listings included; a copy."""
        return Counter(self._tally.requests)

    def statistics(self) -> BucketStatistics:
        """The counts so far."""
        return self._tally.statistics()

    async def __aenter__(self) -> Self:
        tree = await asyncio.to_thread(FolderTree, self._folder)
        runner = web.ServerRunner(
            web.Server(partial(self._handle, tree), handler_cancellation=True, access_log=None),
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG).start()
        except (OSError, OverflowError) as exc:
            await runner.cleanup()
            raise OptionError(
                "host, port",
                f"{self._host!r}, {self._port}",
                f"an address of this machine that is free ({exc}); port 0 takes any",
            ) from exc
        self._runner = runner
        port = runner.addresses[0][1]
        self._url = f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{port}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, tree: FolderTree, request: web.BaseRequest) -> web.StreamResponse:
        arrived_s = time.monotonic()
        key = _key_of(request)
        occurrence = self._tally.arrive(request.method, key)
        try:
            turn = self.manners.turn(request.method, key, occurrence)
            await sleep_until(arrived_s + turn.delay_s)
            if self._tokens is not None and not self._tokens.takes():
                self._tally.refusals += 1
                wait_s = self._tokens.next_in_s
                # A second is the least that can be said; who may come sooner would wait for nothing.
                wait = {"Retry-After": str(math.ceil(wait_s))} if wait_s >= 1 else {}
                return await self._send(request, say(self.manners.rate_limit_status, "too fast (rate_limit)", wait))
            if turn.refusal_status is not None:
                self._tally.refusals += 1
                return await self._send(request, say(turn.refusal_status, "on purpose (error_rate)"))
            answer = await asyncio.to_thread(reply, tree, request.method, key, request.headers)
            return await self._send(request, answer)
        except asyncio.CancelledError:
            self._tally.abandoned += 1
            raise
        except ConnectionError as exc:
            self._tally.abandoned += 1
            raise _cut() from exc
        except OSError as exc:
            _log.warning("%s could not be sent to its end; the connection is cut: %r", key, exc)
            raise _cut() from exc
        finally:
            self._tally.in_flight -= 1

    async def _send(self, request: web.BaseRequest, answer: Reply) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        if answer.status != 304:
            response.content_length = answer.length_bytes
        if request.method == "HEAD":
            await response.prepare(request)
        elif isinstance(answer.body, FileSlice):
            await self._stream(request, response, answer.body)
        else:
            await response.prepare(request)
            await self._write(response, answer.body)
        await response.write_eof()
        return response

    async def _stream(self, request: web.BaseRequest, response: web.StreamResponse, body: FileSlice) -> None:
        await response.prepare(request)
        start, stop = body.byte_range
        for offset in range(start, stop, CHUNK_BYTES):
            chunk = await asyncio.to_thread(body.file.read, offset, min(offset + CHUNK_BYTES, stop))
            await self._write(response, chunk)

    async def _write(self, response: web.StreamResponse, body: bytes) -> None:
        step = self._line.piece_bytes
        for offset in range(0, len(body), step):
            piece = body[offset : offset + step]
            await self._line.carry(len(piece))
            self._tally.body_bytes += len(piece)  # before the client can have them
            await response.write(piece)


def _cut() -> BaseException:
    # Cancelling is aiohttp's quiet way to cut a connection; another exception would be logged with its traceback.
    return asyncio.CancelledError()


def _key_of(request: web.BaseRequest) -> str:
    # Bytes that are not UTF-8 cannot name a key: they become U+FFFD and are not found, but counted.
    return unquote_to_bytes(request.rel_url.raw_path).removeprefix(b"/").decode("utf-8", "replace")
