"""Servers on loopback that stores are run against."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import unquote

import pytest
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from aioloader.storage.http.store import HTTPStore
    from aioloader.types import Store

    StoreT = TypeVar("StoreT", bound=Store)

    class Closing(Protocol):
        """Registers a store for the end of the test."""

        def __call__(self, store: StoreT) -> StoreT:
            """The same store."""
            ...

    NewStore = Callable[..., HTTPStore]
    BucketFactory = Callable[..., AbstractAsyncContextManager["Bucket"]]
    RawFactory = Callable[..., AbstractAsyncContextManager["RawServer"]]


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The contract and the HTTP client on both loops: users' own is asyncio's, the background one uvloop's."""
    both = ("test_store_contract.py", "test_http_fetch.py", "test_http_errors.py", "test_http_transports.py")
    if item.path.name in both:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


class Bucket:
    """Objects behind aiohttp.web: ranges, HEAD, ``index.jsonl``; remembers each request."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.requests: list[web.Request] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The object of exactly the requested key."""
        self.requests.append(request)
        key = unquote(request.raw_path.partition("?")[0].removeprefix("/root/"), errors="surrogateescape")
        body = self.objects.get(key)
        if body is None:
            raise web.HTTPNotFound
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None:
            return web.Response(body=body)
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(body))
        if start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        described = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}
        return web.Response(status=206, body=body[start:stop], headers=described)

    def add_index(self) -> None:
        """Write the index of what is there."""
        lines = [json.dumps({"key": key, "size": len(body)}) for key, body in self.objects.items()]
        self.objects["index.jsonl"] = "\n".join(lines).encode()


@asynccontextmanager
async def run_bucket(
    objects: Mapping[str, bytes],
    *,
    index: bool = True,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Bucket]:
    """A bucket at ``bucket.url``; ``answer`` takes the place of its own answers."""
    bucket = Bucket(objects)
    if index:
        bucket.add_index()

    async def recorded(request: web.Request) -> web.StreamResponse:
        if answer is None:
            return await bucket.answer(request)
        bucket.requests.append(request)
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", recorded)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        bucket.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/root/"
        yield bucket
    finally:
        await runner.cleanup()


@pytest.fixture
def bucket() -> BucketFactory:
    """``async with bucket(objects) as b``."""
    return run_bucket


class RawServer:
    """Answers each request with the next of its scripts, bytes as they are; a script may also act."""

    def __init__(self, *scripts: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
                if isinstance(script, bytes):
                    writer.write(script)
                    await writer.drain()
                    if b"Connection: close" in script:
                        return
                else:
                    await script(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self.closed.set()


@asynccontextmanager
async def run_raw(
    *scripts: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """A raw server at ``server.url``; its last script answers all further requests."""
    raw = RawServer(*scripts)
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):  # asyncio's streams would log it as an error
            await raw.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    raw.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/root/"
    try:
        yield raw
    finally:
        server.close()
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)


@pytest.fixture
def raw() -> RawFactory:
    """``async with raw(b"HTTP/1.1 ...", ...) as server``."""
    return run_raw


@pytest.fixture(params=["aiohttp", "fast"])
def http(request: pytest.FixtureRequest) -> NewStore:
    """``HTTPStore`` with each of its transports: both keep every promise."""
    from aioloader.storage.http.store import HTTPStore

    if request.param == "fast":
        pytest.importorskip("httptools")
    return partial(HTTPStore, transport=request.param)


@pytest.fixture
async def closing() -> AsyncIterator[Closing]:
    """``store = closing(HTTPStore().at(url))``: closed at the end of the test, however it ends."""
    async with AsyncExitStack() as stack:

        def register(store: StoreT) -> StoreT:
            stack.push_async_callback(store.aclose)
            return store

        yield register


def write_files(folder: Path, objects: Mapping[str, bytes]) -> None:
    """Each object as a file below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, body in objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


class FileServer:
    """A web server over a folder: what is written below ``folder`` is at ``url``."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self._count = 0

    def publish(self, objects: Mapping[str, bytes]) -> str:
        """Write ``objects`` into a folder of their own; its address."""
        self._count += 1
        write_files(self.folder / str(self._count), objects)
        return f"{self.url}{self._count}/"


class _PatientServer(ThreadingHTTPServer):
    request_queue_size = 256  # of 5 waiting ones, the kernel drops the rest and clients wait for seconds


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="session")
def python_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """Python's own ``http.server``: directory pages, no ranges."""
    folder = tmp_path_factory.mktemp("python-server")
    with _PatientServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield FileServer(folder, f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
            thread.join()


NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

_NGINX_CONFIG = """
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location / {{ autoindex on; }}
        location /closed/ {{ autoindex off; }}
    }}
}}
"""


@pytest.fixture(scope="session")
def nginx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """nginx with directory pages."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "files" / "closed").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX_CONFIG.format(user=user, folder=folder, port=port))
    process = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(config)])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"nginx did not start: {(folder / 'error.log').read_text()}")
                time.sleep(0.02)
        yield FileServer(folder / "files", f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait(10)
