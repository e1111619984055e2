"""Row 7 once more, before real servers: a proxy that knows nothing of HTTP cuts connections at random bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aioloader as al
from tests.faults.drill import HTTP, S3, Via, bodies, check_exact, loader_of
from tests.faults.proxy import CuttingProxy, proxied

if TYPE_CHECKING:
    from tests.reliability import Seen
    from tests.s3_services import Service
    from tests.storage.conftest import FileServer


@pytest.mark.nginx
@pytest.mark.fault(row=7, stores=("http",))
@pytest.mark.parametrize("via", HTTP, ids=str)
def test_cuts_at_any_moment_before_a_real_nginx(
    via: Via, nginx_server: FileServer, fault_seed: int, seen: Seen
) -> None:
    objects = bodies(fault_seed, 200)
    url = nginx_server.publish(objects)
    with proxied(CuttingProxy(url, seed=fault_seed, share=0.4, within_bytes=600_000)) as proxy:
        store = al.HTTPStore(transport=via.transport, idle_timeout_s=2.0).at(proxy.url)
        with loader_of(store, objects, seed=fault_seed) as loader:
            check_exact(loader, objects)
            check_exact(loader, objects)
    assert proxy.cuts > 0
    seen.exact(2)


@pytest.mark.fault(row=7, stores=("s3",))
@pytest.mark.parametrize("via", S3, ids=str)
def test_cuts_at_any_moment_before_moto(via: Via, moto: Service, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 80)
    bucket = moto.new_bucket(objects)
    with proxied(CuttingProxy(moto.endpoint, seed=fault_seed, share=0.4, within_bytes=600_000)) as proxy:
        store = moto.store(endpoint=proxy.url, transport=via.transport, idle_timeout_s=2.0).at(f"s3://{bucket}/")
        with loader_of(store, objects, seed=fault_seed, concurrency=8) as loader:
            check_exact(loader, objects)
    assert proxy.cuts > 0
    seen.exact()
