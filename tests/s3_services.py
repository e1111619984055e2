"""S3 services that tests run against: moto, which checks no signature, and Ceph's gateway, which checks all."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from aioloader.storage.s3.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCRIPT = Path(__file__).parents[1] / "scripts" / "ceph-rgw.sh"
CEPH_BINARIES = ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw")

_bucket_numbers = itertools.count()


@dataclass(frozen=True)
class Service:
    """A running S3 service and the key of its one user."""

    endpoint: str
    access_key_id: str
    secret_access_key: str
    checks_signatures: bool

    def new_bucket(self, objects: Mapping[str, bytes]) -> str:
        """A fresh bucket that holds exactly ``objects``."""
        import boto3  # a second, which only these tests should pay

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
        )
        try:
            bucket = f"bucket-{next(_bucket_numbers)}"
            client.create_bucket(Bucket=bucket)
            for key, body in objects.items():
                client.put_object(Bucket=bucket, Key=key, Body=body)
        finally:
            client.close()
        return bucket

    def store(self, **options: Any) -> S3Store:
        """An unbound store with this service's endpoint and key."""
        keys = {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}
        return S3Store(**{"endpoint": self.endpoint, **keys, **options})


@pytest.fixture(scope="session")
def moto() -> Iterator[Service]:
    from moto.server import ThreadedMotoServer  # two seconds

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        yield Service(f"http://127.0.0.1:{port}", "test-id", "test-secret", checks_signatures=False)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    missing = [name for name in CEPH_BINARIES if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("ceph")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        done = subprocess.run(
            [SCRIPT, "up", folder, str(port)], capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = dict(part.split("=", 1) for part in done.stdout.split())
        yield Service(said["endpoint"], said["access_key"], said["secret_key"], checks_signatures=True)
    finally:
        daemons = [psutil.Process(pid) for pid in _pids(folder) if psutil.pid_exists(pid)]
        subprocess.run([SCRIPT, "down", folder], timeout=30, check=True)
        for stubborn in psutil.wait_procs(daemons, timeout=20)[1]:
            stubborn.kill()


def _pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.pid") if path.read_text().strip()]
