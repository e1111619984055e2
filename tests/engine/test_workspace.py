"""How many steps may be open: what was asked for, as far as memory allows, also when it changes."""

from __future__ import annotations

import numpy as np
import pytest

from aioloader.engine.workspace import LARGEST_QUEUE, Workspace
from aioloader.types import FieldSpec

FIELD = FieldSpec((1000,), np.dtype(np.uint8))


def settled(queue: int, slab_bytes: int = 10_000_000, **options: bool) -> Workspace:
    workspace = Workspace(4, queue, slab_bytes, **options)
    workspace.settle(FIELD, None, None)
    return workspace


@pytest.mark.parametrize("in_shared_memory", [False, True])
def test_the_bound_follows_the_queue(*, in_shared_memory: bool) -> None:
    workspace = settled(2, in_shared_memory=in_shared_memory)
    assert workspace.layout is not None
    nbytes = workspace.layout.nbytes
    for queue in (2, 9, 1, 40, 3):
        workspace.set_queue(queue)
        assert workspace.open_steps == queue
        assert workspace.bound_bytes == (2 * (queue + 2) + 1) * nbytes
        ring = workspace.ring
        assert ring is not None
        slabs = [ring.take() for _ in range(2 * (queue + 2) + 1)]
        assert ring.allocated * nbytes == workspace.bound_bytes
        for slab in slabs:
            ring.give_back(slab)
    workspace.release()


def test_no_more_steps_are_open_than_memory_allows() -> None:
    workspace = settled(2, slab_bytes=60_000)
    workspace.set_queue(1000)
    assert workspace.bound_bytes <= 60_000
    assert workspace.layout is not None
    assert workspace.open_steps == (60_000 // workspace.layout.nbytes - 1) // 2


def test_no_more_steps_are_open_than_shared_memory_was_laid_out_for() -> None:
    workspace = settled(2, slab_bytes=1_000_000_000, in_shared_memory=True)
    workspace.set_queue(1000)
    assert workspace.open_steps == LARGEST_QUEUE
    workspace.release()


def test_a_queue_is_set_before_the_fields_are_known() -> None:
    workspace = Workspace(4, 2, 10_000_000)
    workspace.set_queue(5)
    workspace.settle(FIELD, None, None)
    assert workspace.open_steps == 5


def test_a_successor_has_the_same_fields_and_queue_and_memory_of_its_own() -> None:
    workspace = settled(2)
    workspace.set_queue(7)
    other = workspace.successor(in_shared_memory=True)
    assert other.layout == workspace.layout
    assert other.open_steps == 7
    assert other.bound_bytes == workspace.bound_bytes
    assert (other.is_declared, other.first_key) == (workspace.is_declared, workspace.first_key)
    assert other.ring is not None
    assert other.ring.arena is not None
    other.release()
