"""What does a GET of 64 KiB cost in CPU: a bare protocol, bare aiohttp, and ours with each transport?

`HTTPStore` is the store by itself, "a loader's store" has all policies around it: retries, pace, hedging, coalescing.

    python benchmarks/bench_http_transport.py [--gets 3000] [--repeats 7] [--json FILE]

64 requests in progress over kept-alive connections to loopback, each for another key; the server is nginx in a
process of its own (`aioloader serve` where nginx is missing, which then is the slower part: read the CPU table only).
CPU is the time of this process alone, all threads, kernel included. The bare protocol reads just enough of a header
to find the body's length: it is the floor, not a client. One figure is the mean of all GETs of a round.

All cases run with freed memory kept (`aioloader.storage.freed_memory`), as HTTPStore does it. To see them without,
forbid it: MALLOC_TRIM_THRESHOLD_=131072 python benchmarks/bench_http_transport.py
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from functools import partial
from importlib import metadata
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import aiohttp
import uvloop
from harness import interleaved, report

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from aioloader.storage.freed_memory import keep_freed_memory
from aioloader.storage.policies.stack import with_policies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    Get = Callable[[str], Awaitable[bytes]]

AT_ONCE = 64
BODY_BYTES = 64 * 1024
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
NGINX_CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


class BareProtocol(asyncio.Protocol):
    """One connection, one GET at a time, no check at all."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._missing_bytes: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get(self, path: str) -> asyncio.Future[bytes]:
        """Ask; the future is the body."""
        self._body = asyncio.get_running_loop().create_future()
        self._parts, self._missing_bytes = [], None
        self.transport.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n\r\n".encode())
        return self._body

    def data_received(self, data: bytes) -> None:
        if self._missing_bytes is None:
            head, _, data = data.partition(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length: ")
            self._missing_bytes = int(rest.partition(b"\r\n")[0])
        self._parts.append(data)
        self._missing_bytes -= len(data)
        if not self._missing_bytes:
            self._body.set_result(b"".join(self._parts))


async def measure(get: Get, keys: Sequence[str]) -> tuple[float, float]:
    """Microseconds of CPU a GET, and GETs a second, after the connections are open."""
    await asyncio.gather(*(get(key) for key in keys[:AT_ONCE]))
    waiting = iter(keys)

    async def reader() -> None:
        for key in waiting:
            assert len(await get(key)) == BODY_BYTES

    cpu_s, wall_s = process_time(), perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(reader())
    return (process_time() - cpu_s) / len(keys) * 1e6, len(keys) / (perf_counter() - wall_s)


async def bare_protocol(url: str, keys: Sequence[str]) -> tuple[float, float]:
    """Neither checks nor time limits: what uvloop and the kernel cost."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    host, port = str(parts.hostname), int(parts.port or 80)
    opened = [await loop.create_connection(BareProtocol, host, port) for _ in range(AT_ONCE)]
    idle = [protocol for _, protocol in opened]

    async def get(key: str) -> bytes:
        protocol = idle.pop()
        body = await protocol.get(parts.path + key)
        idle.append(protocol)
        return body

    try:
        return await measure(get, keys)
    finally:
        for transport, _ in opened:
            transport.close()


async def bare_aiohttp(url: str, keys: Sequence[str]) -> tuple[float, float]:
    """A session as its documentation shows it."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        async def get(key: str) -> bytes:
            async with session.get(url + key) as response:
                return await response.read()

        return await measure(get, keys)


async def our_store(transport: str, url: str, keys: Sequence[str]) -> tuple[float, float]:
    """Addresses, credentials' rules, redirects, checks of length, time limits."""
    store = al.HTTPStore(transport=transport).at(url)
    try:
        return await measure(store.get, keys)
    finally:
        await store.aclose()


async def a_loaders_store(transport: str, url: str, keys: Sequence[str]) -> tuple[float, float]:
    """The same as a loader asks it, with what it knows of each sample."""
    store = with_policies(al.HTTPStore(transport=transport).at(url), retry=al.Retry())
    known = {key: al.SampleRef(index=index, key=key, size_bytes=BODY_BYTES) for index, key in enumerate(keys)}
    try:
        return await measure(lambda key: store.get(key, None, known[key]), keys)
    finally:
        await store.aclose()


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """The address of ``folder/files``."""
    assert NGINX is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(user="user root;" if os.geteuid() == 0 else "", folder=folder, port=port))
    process = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(config)])
    try:
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    """Measure and print two tables: CPU, and rate."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--gets", type=int, default=3000)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--json", type=Path, help="the CPU figures")
    chosen = options.parse_args()
    keys = [f"class-{index % 100:02d}/{index:06d}.bin" for index in range(chosen.gets)]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        original = folder / "original"
        original.write_bytes(os.urandom(BODY_BYTES))
        for key in keys:
            path = folder / "files" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(original)
        url = stack.enter_context(nginx(folder) if NGINX else bucket_process(folder / "files", 0.0))
        runs: dict[str, Callable[[str, Sequence[str]], Coroutine[Any, Any, tuple[float, float]]]] = {
            "bare aiohttp": bare_aiohttp,
            "bare protocol": bare_protocol,
            "HTTPStore": partial(our_store, "aiohttp"),
            "a loader's store": partial(a_loaders_store, "aiohttp"),
        }
        if importlib.util.find_spec("httptools") is not None:
            runs['HTTPStore, transport="fast"'] = partial(our_store, "fast")
            runs['a loader\'s store, transport="fast"'] = partial(a_loaders_store, "fast")
        rates: dict[str, list[float]] = {case: [] for case in runs}

        def once(case: str) -> float:
            cpu_us, rate = uvloop.run(runs[case](url, keys))
            rates[case].append(rate)
            return cpu_us

        keep_freed_memory()
        results = interleaved({case: partial(once, case) for case in runs}, chosen.repeats)
    counted = {case: figures[-chosen.repeats :] for case, figures in rates.items()}
    server = "nginx" if NGINX else "aioloader serve"
    print(report(f"CPU for a GET of 64 KiB from {server}", results, unit="us", json_path=chosen.json), "\n")
    print(report(f"GETs of 64 KiB from {server}, one client process", counted, unit="GETs/s"))
    with contextlib.suppress(metadata.PackageNotFoundError):
        print(f"httptools {metadata.version('httptools')}")


if __name__ == "__main__":
    main()
