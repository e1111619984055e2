"""The ring: memory that a view still shows is never written again; what is held too long is copied."""

from __future__ import annotations

import gc
import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aioloader.batch.arena import Arena
from aioloader.batch.layout import ALIGNMENT, Layout
from aioloader.batch.ring import SlabRing, slabs_at_most
from aioloader.types import FieldSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Fields = list["NDArray[Any]"]


def lend_filled(ring: SlabRing, value: int) -> tuple[int, Fields]:
    """Fill a slab with ``value`` and lend it; the address of its memory and the fields."""
    slab = ring.take()
    for field in slab.fields:
        field[...] = value
    return int(slab.buffer.__array_interface__["data"][0]), ring.lend(slab)


def addresses_of_free_slabs(ring: SlabRing, most: int) -> set[int]:
    slabs = [ring.take() for _ in range(most)]
    found = {int(slab.buffer.__array_interface__["data"][0]) for slab in slabs}
    for slab in slabs:
        ring.give_back(slab)
    return found


@dataclass(frozen=True)
class Hold:
    """A way in which a consumer may keep a batch without keeping its arrays."""

    id: str
    keep: Callable[[Fields], Any]


HOLDS = [
    Hold("the second field", lambda fields: fields[1]),
    Hold("a slice", lambda fields: fields[0][1:2]),
    Hold("a slice of a slice", lambda fields: fields[0][1:][:2][0]),
    Hold("another shape", lambda fields: fields[0].reshape(-1)),
    Hold("another dtype", lambda fields: fields[1].view(np.uint8)),
    Hold("a transposed view", lambda fields: fields[0].T),
    Hold("a memoryview", lambda fields: fields[0].data),
    Hold("a memoryview's slice", lambda fields: fields[1].data[2:3]),
    Hold("an array from a buffer", lambda fields: np.frombuffer(fields[1], np.uint8)),
    Hold("an array from dlpack", lambda fields: np.from_dlpack(fields[0])),
    Hold("an iterator", lambda fields: fields[0].flat),
    Hold("a list of rows", lambda fields: list(fields[0])[-1:]),
]


@pytest.mark.parametrize("hold", HOLDS, ids=lambda hold: hold.id)
def test_a_slab_stays_out_while_anything_shows_it_and_returns_after(layout: Layout, hold: Hold) -> None:
    ring = SlabRing(layout, 3)
    address, fields = lend_filled(ring, 7)
    kept: Any = hold.keep(fields)
    del fields
    gc.collect()
    assert ring.lent == 1
    assert address not in addresses_of_free_slabs(ring, 3)
    del kept
    assert ring.lent == 0
    assert address in addresses_of_free_slabs(ring, 4)


def test_a_field_is_writable_and_aligned_and_shows_what_was_decoded(layout: Layout) -> None:
    _, fields = lend_filled(SlabRing(layout, 2), 3)
    for field in fields:
        assert field.flags.writeable
        assert field.__array_interface__["data"][0] % ALIGNMENT == 0
        assert (field == 3).all()
        field[...] = 4
        assert (field == 4).all()


def test_a_lent_batch_outlives_the_ring(layout: Layout) -> None:
    ring = SlabRing(layout, 2)
    _, fields = lend_filled(ring, 9)
    del ring
    gc.collect()
    assert (fields[0] == 9).all()
    fields[0][...] = 1


def test_taking_clears_the_header_of_a_used_slab(layout: Layout) -> None:
    ring = SlabRing(layout, 2)
    slab = ring.take()
    slab.mark(1, 5)
    ring.give_back(slab)
    again = ring.take()
    assert again is slab
    assert (again.positions == -1).all()
    assert not again.valid.any()
    assert ring.allocated == 1


def test_beyond_the_ring_batches_are_private_aligned_copies_and_said_once(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    ring = SlabRing(layout, 2)
    with caplog.at_level(logging.WARNING, "aioloader"):
        held = [lend_filled(ring, value)[1] for value in range(7)]
    assert [(fields[0] == value).all() for value, fields in enumerate(held)] == [True] * 7
    assert [(fields[1] == value).all() for value, fields in enumerate(held)] == [True] * 7
    assert all(field.__array_interface__["data"][0] % ALIGNMENT == 0 for fields in held for field in fields)
    assert all(field.flags.writeable for fields in held for field in fields)
    assert (ring.lent, ring.private_copies, ring.allocated) == (2, 5, 3)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert "2 batches are still referenced" in messages[0]
    assert "max_queue_size" in messages[0]


def test_after_the_held_batches_go_slabs_are_lent_again(layout: Layout) -> None:
    ring = SlabRing(layout, 2)
    held = [lend_filled(ring, value)[1] for value in range(4)]
    assert ring.private_copies == 2
    held.clear()
    for value in range(20):
        lend_filled(ring, value)
    assert (ring.lent, ring.private_copies, ring.allocated) == (0, 2, 3)


def test_batches_in_a_reference_cycle_are_collected_before_anything_is_copied(layout: Layout) -> None:
    ring = SlabRing(layout, 2)

    class Cycle:
        def __init__(self, fields: Fields) -> None:
            self.fields, self.me = fields, self

    gc.disable()
    try:
        for value in range(10):
            Cycle(lend_filled(ring, value)[1])
        assert ring.private_copies == 0
    finally:
        gc.enable()


def test_a_caller_who_keeps_all_batches_does_not_pay_a_collection_for_each(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    collections: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: collections.append(1))
    ring = SlabRing(layout, 2)
    held = [lend_filled(ring, 0)[1] for _ in range(200)]
    assert len(held) == 200
    assert 1 <= len(collections) <= 10


def test_slabs_come_back_from_finalizers_in_many_threads(layout: Layout) -> None:
    ring = SlabRing(layout, 400)
    parts = [[lend_filled(ring, 0)[1] for _ in range(50)] for _ in range(8)]
    assert ring.lent == 400
    barrier = threading.Barrier(8)

    def drop(part: list[Fields]) -> None:
        barrier.wait()
        while part:
            part.pop()

    threads = [threading.Thread(target=drop, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ring.lent == 0
    assert len(addresses_of_free_slabs(ring, 400)) == 400
    assert ring.allocated == 400


def test_the_bound_on_memory_holds_when_all_is_filled_and_all_is_held(layout: Layout) -> None:
    ring = SlabRing(layout, 3)
    held = [lend_filled(ring, 0)[1] for _ in range(3)]
    filling = [ring.take() for _ in range(3)]
    for _ in range(10):
        popped = filling.pop(0)
        filling.append(ring.take())  # a decoder begins the next step before the consumer has its batch
        held.append(ring.lend(popped))
    assert ring.allocated == slabs_at_most(3) == 7
    assert ring.allocated * layout.nbytes == ring.bound_bytes


class RingModel(RuleBasedStateMachine):
    """Any interleaving of filling, lending, giving back and dropping keeps what a consumer sees unchanged."""

    def __init__(self) -> None:
        super().__init__()
        structure = (FieldSpec((2,), np.dtype(np.float32)), FieldSpec((), np.dtype(np.int64)))
        self.ring = SlabRing(Layout.plan(structure, 2), 3)
        self.filling: list[tuple[int, Any]] = []
        self.held: list[tuple[int, Any]] = []
        self.next_value = 0

    @rule()
    def take_and_fill(self) -> None:
        slab = self.ring.take()
        self.next_value += 1
        for field in slab.fields:
            field[...] = self.next_value
        self.filling.append((self.next_value, slab))

    @precondition(lambda self: self.filling)
    @rule(half=st.booleans())
    def lend(self, half: bool) -> None:
        value, slab = self.filling.pop(0)
        fields = self.ring.lend(slab)
        self.held.append((value, fields[0][:1] if half else fields[1]))

    @precondition(lambda self: self.filling)
    @rule()
    def give_back(self) -> None:
        self.ring.give_back(self.filling.pop()[1])

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        del self.held[data.draw(st.integers(0, len(self.held) - 1))]

    @invariant()
    def nothing_held_or_filled_was_overwritten(self) -> None:
        assert all((view == value).all() for value, view in self.held)
        assert all((field == value).all() for value, slab in self.filling for field in slab.fields)
        assert self.ring.lent <= 3


TestRingModel = RingModel.TestCase
TestRingModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("in_shared_memory", [False, True])
def test_a_ring_that_was_made_smaller_gives_up_what_it_has_too_much_of(
    layout: Layout, *, in_shared_memory: bool
) -> None:
    ring = SlabRing(layout, 6, Arena(layout, slabs_at_most(6)) if in_shared_memory else None)
    held = [lend_filled(ring, value)[1] for value in range(5)]
    being_filled = [ring.take() for _ in range(6)]
    assert ring.allocated == 11
    ring.resize(2)
    assert ring.bound_bytes == 5 * layout.nbytes
    for slab in being_filled:
        ring.give_back(slab)
    assert ring.allocated == 5  # those that are lent
    assert [(fields[0] == value).all() for value, fields in enumerate(held)] == [True] * 5
    assert (lend_filled(ring, 9)[1][0] == 9).all()  # a copy: more than a ring's worth is lent
    assert ring.allocated == 5
    held.clear()
    assert ring.lent == 0
    ring.resize(6)
    again = [ring.take() for _ in range(11)]
    assert len({int(slab.buffer.__array_interface__["data"][0]) for slab in again}) == 11
    assert all((slab.positions == -1).all() for slab in again)


def test_memory_of_an_arena_that_is_given_up_goes_back_to_the_system(layout: Layout) -> None:
    arena = Arena(layout, 5)
    ring = SlabRing(layout, 2, arena)
    slabs = [ring.take() for _ in range(5)]
    for slab in slabs:
        slab.buffer.fill(7)
    taken = os.fstat(arena.descriptor).st_blocks
    ring.retire()
    for slab in slabs[1:]:
        ring.give_back(slab)
    assert os.fstat(arena.descriptor).st_blocks * 5 == taken
    assert ring.allocated == 1
    assert (slabs[0].buffer == 7).all()
    slab = ring.take()
    assert (slab.fields[0] == 0).all()
    ring.give_back(slab)
    assert os.fstat(arena.descriptor).st_blocks * 5 == taken


def test_what_a_consumer_holds_of_the_ring_before_counts_as_lent(layout: Layout) -> None:
    before = SlabRing(layout, 3)
    held = [lend_filled(before, value)[1] for value in range(2)]
    ring = SlabRing(layout, 3, before=before)
    before.retire()
    assert (ring.lent, ring.allocated) == (2, 2)
    held.append(lend_filled(ring, 2)[1])
    held.append(lend_filled(ring, 3)[1])
    assert (ring.lent, ring.allocated, ring.private_copies) == (3, 4, 1)
    del held[:2]
    held.append(lend_filled(ring, 4)[1])
    assert (ring.lent, ring.allocated, ring.private_copies) == (2, 2, 1)
    assert [(fields[0] == value).all() for value, fields in enumerate(held, 2)] == [True] * 3


def test_a_slab_that_was_given_up_is_not_given_back_once_more(layout: Layout) -> None:
    ring = SlabRing(layout, 2)
    slab = ring.take()
    ring.retire()
    ring.give_back(slab)
    assert ring.is_lent(slab)
    assert ring.allocated == 0
