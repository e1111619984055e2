"""Rows 8, 10, 14 to 19: what cannot be had is named, with its sample; and the next epoch is whole.

Each run is an epoch in which one object, drawn from the seed, always fails, among others that fail and then come.
"""

from __future__ import annotations

import random
import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

import aioloader as al
from aioloader.errors import (
    BodyTooLargeError,
    ObjectNotFoundError,
    RedirectRefusedError,
    RequestRefusedError,
    ServerFailedError,
    StoreError,
    ThrottledError,
    TransferStalledError,
    TruncatedBodyError,
)
from aioloader.testing import Fault, FaultServer
from aioloader.testing.faults import random_faults
from tests.faults.drill import CLOUDS, HTTP, S3, Via, below, bodies, check_exact, loader_of, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reliability import Seen

ATTEMPTS = 3
ALWAYS = 50


@dataclass(frozen=True)
class Case:
    """A fault that stays, the error that names it, and how often it is asked for."""

    row: int
    id: str
    fault: Fault
    error: type[StoreError]
    requests: int = ATTEMPTS
    limits: dict[str, Any] = field(default_factory=dict)
    vias: tuple[Via, ...] = (*HTTP, *S3, *CLOUDS)


SMALL = {"max_object_bytes": 300_000}
RESUMED = (*HTTP, *S3)

CASES = [
    Case(5, "silent for ever", Fault(kind="silent"), TransferStalledError),
    Case(8, "cut for ever", Fault(kind="cut", at_bytes=2), TruncatedBodyError),
    Case(10, "chunks without an end", Fault(kind="chunks cut"), TruncatedBodyError, vias=RESUMED),
    Case(10, "no length", Fault(kind="no length"), TruncatedBodyError, 1, vias=RESUMED),
    Case(11, "500 for ever", Fault(kind="status", status=500), ServerFailedError),
    Case(11, "503 for ever", Fault(kind="status", status=503), ThrottledError),
    Case(14, "404", Fault(kind="status", status=404), ObjectNotFoundError, 1),
    Case(17, "a circle", Fault(kind="redirect loop"), RedirectRefusedError, 6, vias=RESUMED),
    Case(18, "gzip bomb", Fault(kind="gzip"), RequestRefusedError, 1, vias=RESUMED),
    Case(19, "announced as huge", Fault(kind="huge"), BodyTooLargeError, 1, SMALL),
    Case(19, "endless chunks", Fault(kind="endless"), BodyTooLargeError, 1, SMALL, vias=RESUMED),
]


def runs() -> list[Any]:
    """Each case through each of its stores."""
    return [
        pytest.param(case, via, marks=pytest.mark.fault(row=case.row, stores=(via.store,)), id=f"{case.id}-{via}")
        for case in CASES
        for via in case.vias
    ]


@pytest.mark.parametrize(("case", "via"), runs())
def test_the_sample_is_named_and_the_next_epoch_is_whole(case: Case, via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 30)
    stored = below(via.prefix, objects)
    faults = random_faults(stored, ("cut", "status"), share=0.3, seed=fault_seed, most=1)
    bad = random.Random(fault_seed).randrange(len(objects))
    key = list(stored)[bad]
    faults[key] = [case.fault] * ALWAYS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    retry = al.Retry(attempts=ATTEMPTS, base_s=0.005, throttled_base_s=0.01, hedge_share=0)
    with (
        serving(FaultServer(stored, faults)) as server,
        loader_of(via.at(server.url, **case.limits), objects, seed=fault_seed, retry=retry) as loader,
    ):
        batches = iter(loader)
        with pytest.raises(case.error) as caught:
            list(batches)
        assert caught.value.sample_id == bad
        assert caught.value.key.endswith(list(objects)[bad])
        assert server.requests[key] == case.requests
        server.faults[key] = []
        check_exact(loader, objects)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 << 10  # KiB
    seen.error(caught.value)


@pytest.mark.parametrize(
    "via",
    [pytest.param(via, marks=pytest.mark.fault(row=14, stores=(via.store,)), id=str(via)) for via in (*HTTP, *S3)],
)
def test_what_is_deleted_in_mid_epoch_is_skipped_and_counted(via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 60, sizes=(0, 100))
    stored = below(via.prefix, objects)
    with (
        serving(FaultServer(stored, latency_s=0.01)) as server,
        loader_of(
            via.at(server.url), objects, seed=fault_seed, on_error="skip", max_error_rate=0.9, concurrency=4
        ) as loader,
    ):
        came, stood_in = [], 0
        gone = random.Random(fault_seed).sample(sorted(stored), 20)
        for step, batch in enumerate(loader):
            if step == 0:
                for key in gone:
                    del server.objects[key]
            came += batch.sample_ids[batch.valid].tolist()
            stood_in += int((~batch.valid).sum())
        skipped = [list(objects).index(entry.key) for entry in loader.skipped]
    assert sorted(came + skipped) == list(range(len(objects)))
    assert 0 < stood_in == len(skipped) <= len(gone)
    seen.exact()


@pytest.mark.fault(row=14, stores=("local",))
def test_files_that_are_deleted_in_mid_epoch_are_skipped_and_counted(
    fault_seed: int, seen: Seen, tmp_path: Path
) -> None:
    objects = bodies(fault_seed, 60, sizes=(0, 100))
    for key, body in objects.items():
        (tmp_path / key).write_bytes(body)
    with loader_of(
        al.LocalStore().at(tmp_path), objects, seed=fault_seed, on_error="skip", max_error_rate=0.9, concurrency=2
    ) as loader:
        batches = iter(loader)
        came = next(batches).sample_ids.tolist()
        left = sorted(set(range(60)) - set(came))
        for index in random.Random(fault_seed).sample(left, 15):
            (tmp_path / list(objects)[index]).unlink()
        came += [index for batch in batches for index in batch.sample_ids[batch.valid].tolist()]
        skipped = [list(objects).index(entry.key) for entry in loader.skipped]
    assert sorted(came + skipped) == list(range(60))
    seen.exact()
