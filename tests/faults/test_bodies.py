"""Rows 5 to 11, 16, 17: answers that break off, stand still, trickle, are refused or are of another range.

Each run is an epoch of which about half of the objects meet one or two faults, at random bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from aioloader.testing import Fault, FaultServer
from aioloader.testing.faults import random_faults
from tests.faults.drill import CLOUDS, HTTP, S3, Via, below, bodies, check_exact, loader_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.reliability import Seen


@dataclass(frozen=True)
class Case:
    """Faults after which everything comes; ``after_cut`` spoil the request for the rest of a body."""

    row: int
    id: str
    kinds: tuple[str, ...]
    limits: dict[str, Any] = field(default_factory=dict)
    after_cut: bool = False
    vias: tuple[Via, ...] = (*HTTP, *S3, *CLOUDS)


TRICKLES = {"idle_timeout_s": 5.0, "floor_window_s": 0.6}
RESUMED = (*HTTP, *S3)

CASES = [
    Case(5, "stall", ("stall",)),
    Case(5, "no answer", ("silent",)),
    Case(6, "trickling body", ("drip",), TRICKLES, vias=RESUMED),
    Case(6, "trickling header", ("slow header",), TRICKLES, vias=RESUMED),
    Case(7, "reset", ("reset",)),
    Case(8, "cut", ("cut",)),
    Case(9, "bytes behind the body", ("extra bytes",)),
    Case(9, "two lengths", ("two lengths",)),
    Case(10, "chunks without an end", ("chunks cut",)),
    Case(11, "statuses", ("status", "throttle")),
    *(
        Case(16, f"a resume gets: {kind}", (kind,), after_cut=True, vias=RESUMED)
        for kind in ("ignored range", "wrong range", "wider range", "short range", "multipart", "unsatisfied")
    ),
    Case(17, "redirected", ("redirect loop",)),
]


def runs() -> Iterator[Any]:
    """Each case through each of its stores."""
    for case in CASES:
        for via in case.vias:
            marks = pytest.mark.fault(row=case.row, stores=(via.store,))
            yield pytest.param(case, via, marks=marks, id=f"{case.id}-{via}")


def faults_of(case: Case, objects: Mapping[str, bytes], seed: int) -> dict[str, list[Fault]]:
    faults = random_faults(objects, case.kinds, share=0.5, seed=seed, most=2)
    if not case.after_cut:
        return faults
    return {
        key: [Fault(kind="cut", at_bytes=len(objects[key]) // 2), *some]
        for key, some in faults.items()
        if len(objects[key]) > 4
    }


@pytest.mark.parametrize(("case", "via"), list(runs()))
def test_every_sample_comes_once(case: Case, via: Via, fault_seed: int, seen: Seen) -> None:
    objects = bodies(fault_seed, 40)
    stored = below(via.prefix, objects)
    faults = faults_of(case, stored, fault_seed)
    with (
        serving(FaultServer(stored, faults)) as server,
        loader_of(via.at(server.url, **case.limits), objects, seed=fault_seed) as loader,
    ):
        check_exact(loader, objects)
        faulted = server.faulted
        check_exact(loader, objects)
    assert faulted >= len(faults)
    assert server.faulted == sum(map(len, faults.values())) or case.kinds == ("extra bytes",)
    seen.exact()
