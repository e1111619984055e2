"""The bucket: nginx with a fixed latency, or ``aioloader serve`` where nginx or its echo module is missing.

``echo_sleep`` waits on nginx's own timers and ``echo_exec`` goes on to the static file, on a kept-alive connection:
a waiting request costs nothing but a timer. netem would delay each packet, not each request, and needs a kernel module.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aioloader.cli.bucket_process import bucket_process

if TYPE_CHECKING:
    from collections.abc import Iterator

ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
START_TIMEOUT_S = 10.0

_CONFIG = """
load_module {module};
daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections {connections}; }}
http {{
  types {{ }}
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nodelay on;
  # A server that closes after 1,000 requests would make every loader's reconnects part of the race.
  keepalive_requests 1000000000;
  keepalive_timeout 600;
  open_file_cache max={cached} inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder};
    location / {{ echo_sleep {latency_s}; echo_exec @file; }}
    location @file {{ }}
  }}
}}
"""


@dataclass(frozen=True)
class Bucket:
    """``url`` ends in a slash; ``pids`` are the processes that serve (not nginx's master, which does nothing)."""

    kind: str
    url: str
    pids: tuple[int, ...]

    def latency_ms(self, name: str) -> float:
        """What one request for ``name`` takes on a kept-alive connection, in ms; the median of 21."""
        parts = urlsplit(self.url)
        connection, seen = http.client.HTTPConnection(parts.netloc), []
        for _ in range(21):
            began = time.perf_counter()
            connection.request("GET", parts.path + name)
            connection.getresponse().read()
            seen.append(time.perf_counter() - began)
        connection.close()
        return statistics.median(seen) * 1000

    def cpu_s(self) -> float:
        """CPU seconds its processes have taken so far, to the nanosecond where the kernel tells."""
        return sum(_cpu_s(pid) for pid in self.pids)


def _cpu_s(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def bucket(folder: Path, latency_s: float) -> Iterator[Bucket]:
    """A bucket over ``folder`` for as long as the block runs."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if nginx is None or not ECHO_MODULE.exists():
        before = _children(os.getpid())
        with bucket_process(folder, latency_s) as url:
            yield Bucket("aioloader serve", url, tuple(_children(os.getpid()) - before))
        return
    with (
        tempfile.TemporaryDirectory(prefix="aioloader-bucket-") as work,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port = taken.getsockname()[1]
        taken.close()
        config = Path(work, "nginx.conf")
        text = _CONFIG.format(module=ECHO_MODULE, work=work, port=port, folder=folder, latency_s=latency_s, **_room())
        # As root nginx would serve as another user, who may not read the cache folder.
        config.write_text(("user root;" if os.geteuid() == 0 else "") + text)
        server = subprocess.Popen([nginx, "-e", f"{work}/error.log", "-c", str(config)], preexec_fn=dies_with_parent)
        try:
            _wait_for(port, server, Path(work, "error.log"))
            yield Bucket("nginx", f"http://127.0.0.1:{port}/", tuple(_children(server.pid)))
        finally:
            server.terminate()
            server.wait(10)


def _room() -> dict[str, int]:
    """Descriptors are shared by connections and the cache of open files; more of either than there are is a 500."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    connections = min(8192, most // 2)
    return {"connections": connections, "cached": most - connections - 256}


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            # nginx listens before it has forked its workers, and these are what is measured.
            socket.create_connection(("127.0.0.1", port), 1).close()
            if not _children(server.pid):
                raise ConnectionRefusedError
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else ''}") from None
            time.sleep(0.02)
        else:
            return


def _children(pid: int) -> set[int]:
    listing = Path(f"/proc/{pid}/task")
    return {int(child) for task in listing.iterdir() for child in (task / "children").read_text().split()}


def dies_with_parent() -> None:
    """For ``preexec_fn``: a killed harness leaves nothing behind; and as many descriptors as are allowed."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
