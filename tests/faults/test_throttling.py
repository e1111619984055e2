"""Row 11: a store that refuses what comes too fast is asked at its pace, and only that pace."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

import aioloader as al
from aioloader.testing import FaultServer, TokenBucket
from tests.faults.drill import CLOUDS, HTTP, S3, Via, below, bodies, check_exact, loader_of, serving
from tests.storage.conftest import NGINX, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.reliability import Seen

RATE_PER_S = 200.0
SETTLED_S = 2.0


class Witness(TokenBucket):
    """Remembers when it took and when it refused."""

    def __init__(self, per_s: float, burst: float) -> None:
        super().__init__(per_s, burst)
        self.looks: list[tuple[float, bool]] = []

    def takes(self) -> bool:
        """As the bucket."""
        taken = super().takes()
        self.looks.append((time.monotonic(), taken))
        return taken


def refused_share(looks: list[tuple[float, bool]]) -> float:
    """Of the requests after the first `SETTLED_S`."""
    steady = [taken for at_s, taken in looks if at_s - looks[0][0] > SETTLED_S]
    assert len(steady) > 100
    return 1 - sum(steady) / len(steady)


@pytest.mark.parametrize(
    "via",
    [
        pytest.param(via, marks=pytest.mark.fault(row=11, stores=(via.store,)), id=str(via))
        for via in (*HTTP, S3[1], CLOUDS[0])
    ],
)
def test_a_rate_limit_is_found_and_kept(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 1000, sizes=(0, 100))
    bucket = Witness(RATE_PER_S, 20)
    with (
        serving(FaultServer(below(via.prefix, objects), bucket=bucket, latency_s=0.01)) as server,
        loader_of(via.at(server.url), objects, seed=fault_seed, retry=al.Retry(throttled_base_s=0.5)) as loader,
    ):
        began_s = time.monotonic()
        check_exact(loader, objects)
        took_s = time.monotonic() - began_s
    assert refused_share(bucket.looks) < 0.05
    assert took_s < 10 * len(objects) / RATE_PER_S
    seen.exact()


_NGINX_CONFIG = """
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 512; }}
http {{
    log_format seconds '$msec $status';
    access_log {folder}/access.log seconds;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_req_zone $server_name zone=all:1m rate={rate}r/s;
    server {{
        listen 127.0.0.1:{port};
        server_name limited;
        root {folder}/files;
        location / {{ limit_req zone=all burst=20 nodelay; limit_req_status {status}; }}
    }}
}}
"""


class LimitedNginx:
    """A real nginx that allows so many requests a second."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def looks(self) -> list[tuple[float, bool]]:
        """When each request came to its end, and whether it was allowed."""
        found = re.findall(r"^([0-9.]+) (\d+)$", (self.folder / "access.log").read_text(), re.MULTILINE)
        return [(float(at), status not in ("429", "503")) for at, status in found]


@pytest.fixture
def limited_nginx(via: Via, tmp_path: Path) -> Iterator[LimitedNginx]:
    """It refuses with 429 by the one client, with 503 by the other: a pace does not know them apart."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(
        _NGINX_CONFIG.format(
            user=user, folder=tmp_path, port=port, rate=int(RATE_PER_S), status=429 if via.transport == "fast" else 503
        )
    )
    with subprocess.Popen([NGINX, "-e", str(tmp_path / "error.log"), "-c", str(config)]) as process:
        try:
            deadline_s = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "error.log").read_text()
                    assert time.monotonic() < deadline_s
                    time.sleep(0.02)
            yield LimitedNginx(tmp_path, f"http://127.0.0.1:{port}/")
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.nginx
@pytest.mark.fault(row=11, stores=("http",))
@pytest.mark.parametrize("via", HTTP, ids=str)
def test_the_limit_of_a_real_nginx_is_found_and_kept(
    via: Via, limited_nginx: LimitedNginx, fault_seed: int, seen: Seen
) -> None:
    objects = bodies(fault_seed, 1200, sizes=(0, 100))
    write_files(limited_nginx.folder / "files", objects)
    store = al.HTTPStore(transport=via.transport).at(limited_nginx.url)
    retry = al.Retry(throttled_base_s=0.5, hedge_share=0)  # requests are counted
    with loader_of(store, objects, seed=fault_seed, retry=retry) as loader:
        check_exact(loader, objects)
    looks = limited_nginx.looks()
    assert refused_share(looks) < 0.05
    assert sum(taken for _, taken in looks) == len(objects)
    seen.exact()
