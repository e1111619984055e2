"""A child's share of a stream, driven without a loop: what it decodes in which order, and what it tells its parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.batch.arena import Arena
from aioloader.batch.layout import Layout
from aioloader.engine.decoding import decode_item
from aioloader.engine.job import Job
from aioloader.engine.processes.board import Board
from aioloader.engine.processes.facts import unpack_breakdown, unpack_error, unpack_spec
from aioloader.engine.processes.recipe import ChildRecipe, PackedRecipe
from aioloader.engine.processes.share import Share
from aioloader.engine.processes.wire import Done, ToParent, as_dict, unpack_arrived
from aioloader.errors import DecodeError, OptionError, SampleError
from aioloader.monitor.stats import Counters
from aioloader.types import FieldSpec, SampleRef

if TYPE_CHECKING:
    from collections.abc import Iterator

MakeJob = Callable[..., Job]
SPEC = FieldSpec((3,), np.dtype("float32"))
STREAM = 7


class Child:
    """A share, its arena, and what its parent has heard."""

    def __init__(self, job: Job, probe: int = 0) -> None:
        packed = PackedRecipe(job)
        self.recipe = ChildRecipe(packed.payload, packed.seed)
        self.board = Board()
        self.heard: list[tuple[int, Any]] = []
        self.posted: list[Callable[[], None]] = []
        self.idle = 0
        self.share = Share(STREAM, self.recipe, self.board, Counters(), self._send, self.posted.append, probe)
        self.share.on_idle = self._count_idle
        self.arena = Arena(Layout.plan((SPEC,), 4), 5)

    def _count_idle(self) -> None:
        self.idle += 1

    def _send(self, kind: int, payload: bytes) -> None:
        if kind == ToParent.DONE:
            done = Done.unpack(payload)
            assert done.stream == STREAM
            self.heard.append((kind, done.tickets.tolist()))
        elif kind == ToParent.ARRIVED:
            assert unpack_arrived(payload)[0] == STREAM
            self.heard.append((kind, unpack_arrived(payload)[1]))
        else:
            facts = as_dict(payload)
            assert facts["stream"] == STREAM
            self.heard.append((kind, facts))

    def give(self, *tickets: int, placed: bool = True) -> None:
        """A run of samples whose number is the ticket; four slots a step."""
        self.share.give(
            [
                (ticket, 0, ticket, SampleRef(index=ticket, key=f"{ticket:04}"), divmod(ticket, 4) if placed else None)
                for ticket in tickets
            ]
        )

    def fetch(self, ticket: int | None = None) -> int | None:
        """Fetch ``ticket``, by default the next one."""
        if ticket is None:
            ticket = self.share.next_ticket()
        if ticket is not None:
            body = str(ticket).encode()
            self.share.offer(self.share.item(ticket, self.share.sample(ticket), body))
        return ticket

    def fetch_all(self) -> None:
        while self.fetch() is not None:
            pass

    def decode(self, during_settle: Callable[[], object] | None = None) -> int | None:
        """Decode what may be decoded next; its ticket."""
        item = self.share.take()
        if item is None:
            self.share.idle()
            return None
        assert (STREAM, item.ticket) in self.board.suspects()
        error = None

        def settle(settled: Any, spec: Any) -> None:
            self.share.settle(settled, spec)
            if during_settle is not None:
                during_settle()

        try:
            decode_item(self.recipe, item, settle)
        except SampleError as exc:
            error = exc
        self.share.decoded(item, 0.001, error)
        return item.ticket

    def know(self) -> None:
        """The parent has made the slabs; step i lies in slab i."""
        self.recipe.workspace.know(self.arena, is_declared=False, first_key="0000", decoder_fills_all=False)
        self.share.know_fields()

    def hears(self, kind: ToParent) -> list[Any]:
        return [told for heard, told in self.heard if heard == kind]


@pytest.fixture
def make_child(make_job: MakeJob) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def make(probe: int = 0, **options: Any) -> Child:
        children.append(Child(make_job(**options), probe))
        return children[-1]

    yield make
    for child in children:
        child.arena.close()
        child.board.close()
    children.clear()  # a mapping keeps a descriptor of its own until its last view is gone


MakeChild = Callable[..., Child]


def ready(child: Child, *steps: int) -> Child:
    """With its fields known and the slabs of ``steps``."""
    child.know()
    for index in steps:
        child.share.open_slab(index, index)
    return child


def test_samples_are_decoded_in_the_order_of_their_places_whatever_arrived_first(make_child: MakeChild) -> None:
    child = ready(make_child(), 0, 1)
    child.give(0, 1, 2, 3, 4, 5)
    assert [child.share.next_ticket() for _ in range(7)] == [0, 1, 2, 3, 4, 5, None]
    for ticket in (5, 2, 0, 4):
        child.fetch(ticket)
    assert [child.decode() for _ in range(5)] == [0, 2, 4, 5, None]
    assert child.arena.slab(0).fields[0][[0, 2], 0].tolist() == [0, 2]
    assert child.arena.slab(1).positions.tolist()[:2] == [4, 5]
    assert child.board.suspects() == []


def test_nothing_is_decoded_into_a_step_whose_slab_is_not_known(make_child: MakeChild) -> None:
    child = ready(make_child(), 0)
    child.give(3, 4)
    child.fetch_all()
    assert [child.decode(), child.decode()] == [3, None]
    child.share.open_slab(1, 4)
    assert child.decode() == 4
    assert child.arena.slab(4).positions.tolist()[0] == 4


def test_a_run_is_reported_when_it_is_done_or_nothing_is_left_to_decode(make_child: MakeChild) -> None:
    child = ready(make_child(), 0, 1)
    child.give(0, 1, 2)
    child.give(3, 4)
    child.fetch_all()
    for expected in ([], [], [[0, 1, 2]], [[0, 1, 2]], [[0, 1, 2], [3, 4]]):
        child.decode()
        assert child.hears(ToParent.DONE) == expected
    child.give(5, 6)
    child.fetch(5)
    child.decode()
    assert child.decode() is None
    assert child.hears(ToParent.DONE)[-1] == [5]


def test_a_failure_is_told_at_once_after_what_was_done_before_it(make_child: MakeChild) -> None:
    def decode(data: bytes) -> Any:
        if data == b"2":
            raise ValueError("no such luck")
        return np.full(3, int(data), np.float32)

    child = ready(make_child(decode=decode), 0)
    child.give(0, 1, 2, 3)
    child.fetch_all()
    for _ in range(3):
        child.decode()
    assert [kind for kind, _ in child.heard] == [ToParent.DONE, ToParent.FAILED]
    assert child.hears(ToParent.DONE) == [[0, 1]]
    (facts,) = child.hears(ToParent.FAILED)
    error = unpack_error(facts["error"])
    assert (facts["ticket"], type(error), error.sample_id) == (2, DecodeError, 2)
    assert "ValueError: no such luck" in str(error)
    child.decode()
    assert child.hears(ToParent.DONE) == [[0, 1], [3]]


def test_before_the_fields_are_known_only_the_probe_is_decoded_and_its_decode_is_kept(make_child: MakeChild) -> None:
    child = make_child()
    child.give(0, 1, 2)
    child.fetch(2)
    child.fetch(1)
    assert child.decode() is None
    child.fetch(0)
    assert child.decode() == 0
    (facts,) = child.hears(ToParent.SPEC)
    assert (facts["ticket"], facts["key"], unpack_spec(facts["spec"])) == (0, "0000", SPEC)
    assert child.decode() is None  # not a second time
    ready(child, 0)
    assert [child.decode() for _ in range(4)] == [0, 1, 2, None]
    assert child.hears(ToParent.DONE) == [[0, 1, 2]]
    assert child.arena.slab(0).fields[0][:3, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("placed", [True, False])
def test_the_fields_may_come_while_the_probe_is_still_being_settled(make_child: MakeChild, *, placed: bool) -> None:
    child = make_child()
    child.give(0, 1, placed=placed)
    child.fetch_all()
    child.share.place([(0, 0, 0)])
    assert child.decode(during_settle=lambda: ready(child, 0)) == 0
    child.share.place([(1, 0, 1)])
    assert [child.decode() for _ in range(3)] == [0, 1, None]
    assert child.hears(ToParent.DONE) == [[0, 1]]


def test_a_probe_that_fails_leaves_its_place_to_the_one_the_parent_names(make_child: MakeChild) -> None:
    def decode(data: bytes) -> Any:
        if data == b"0":
            raise ValueError("too small")
        return np.full(3, int(data), np.float32)

    child = make_child(decode=decode)
    child.give(0, 1, 2)
    child.fetch_all()
    assert [child.decode(), child.decode()] == [0, None]
    assert [facts["ticket"] for facts in child.hears(ToParent.FAILED)] == [0]
    child.share.probe(1)
    assert child.decode() == 1
    ready(child, 0)
    assert [child.decode() for _ in range(3)] == [1, 2, None]
    assert child.hears(ToParent.DONE) == [[1, 2]]


def test_another_childs_probe_lets_all_wait_for_the_fields(make_child: MakeChild) -> None:
    child = make_child(probe=100)
    child.give(0, 1)
    child.fetch_all()
    assert child.decode() is None
    ready(child, 0)
    assert [child.decode(), child.decode()] == [0, 1]


def test_without_places_arrivals_are_told_together_and_decoded_in_the_parents_order(make_child: MakeChild) -> None:
    child = ready(make_child(), 0, 1)
    child.give(0, 1, 2, 3, placed=False)
    for ticket in (3, 0, 2):
        child.fetch(ticket)
    assert len(child.posted) == 1
    child.posted.pop()()
    child.share.tell_arrived()  # nothing new
    assert child.hears(ToParent.ARRIVED) == [[3, 0, 2]]
    assert child.decode() is None
    child.share.place([(3, 1, 0), (0, 0, 3), (1, 0, 2)])
    assert [child.decode() for _ in range(3)] == [0, 3, None]
    child.fetch(1)  # its place was known before it arrived
    assert child.decode() == 1
    assert child.posted == []
    assert child.arena.slab(0).positions[2:].tolist() == [1, 0]


def test_closing_drops_what_waits_and_says_so_when_the_running_decode_ends(make_child: MakeChild) -> None:
    child = ready(make_child(), 0)
    child.give(0, 1, 2)
    child.fetch(0)
    child.fetch(1)
    item = child.share.take()
    assert item is not None
    had_more = child.share.has_more
    child.share.close()
    assert (had_more, child.share.has_more) == (True, False)
    was_idle = child.share.is_idle
    assert child.share.next_ticket() is None
    assert child.share.take() is None
    heard = list(child.heard)
    child.share.offer(child.share.item(2, child.share.sample(2), b"2"))
    child.share.failed(2, DecodeError("late"))
    child.share.decoded(item, 0.1, None)
    assert (was_idle, child.share.is_idle, child.idle) == (False, True, 1)
    assert child.heard == heard
    assert child.board.suspects() == []


def test_what_breaks_the_worker_is_told_once_with_its_traceback(make_child: MakeChild) -> None:
    child = make_child()
    child.share.close(broken=OptionError("profile", "'nobody'", "a profile"))
    child.share.close(broken=OptionError("profile", "'somebody'", "a profile"))
    (facts,) = child.hears(ToParent.BROKEN)
    error = unpack_breakdown(facts)
    assert isinstance(error, OptionError)
    assert error.got == "'nobody'"


def test_a_dict_whose_names_cannot_be_sent_is_the_samples_failure(make_child: MakeChild) -> None:
    child = make_child(decode=lambda data: {1.5: np.zeros(3)})
    child.give(0)
    child.fetch_all()
    child.decode()
    (facts,) = child.hears(ToParent.FAILED)
    assert "a field is named 1.5" in str(unpack_error(facts["error"]))


def test_slabs_of_steps_long_past_are_forgotten_and_the_latest_are_not(make_child: MakeChild) -> None:
    child = ready(make_child())
    for index in range(10_000):
        child.share.open_slab(index, index % 5)
    assert len(child.share._slabs) <= 4096
    child.give(4 * 9_999)
    child.fetch_all()
    assert child.decode() == 4 * 9_999


def test_what_a_dead_worker_had_is_fetched_when_its_step_opens_or_it_sets_the_fields(make_child: MakeChild) -> None:
    child = make_child()
    rows = [(ticket, 0, ticket, SampleRef(index=ticket, key=f"{ticket:04}"), divmod(ticket, 4)) for ticket in range(9)]
    assert child.share.give(rows[1:], is_rescue=True) == []  # no step is open, and 0 sets the fields
    assert child.share.next_ticket() is None
    assert child.share.probe(1) == [1]
    assert child.share.probe(1) == []
    assert child.share.open_slab(1, 3) == [4, 5, 6, 7]
    assert child.share.open_slab(0, 2) == [2, 3]
    assert child.share.give(rows[:1], is_rescue=True) == [0]  # its step is open
    unplaced = [(9, 0, 9, SampleRef(index=9, key="0009"), None)]
    assert child.share.give(unplaced, is_rescue=True) == []
    assert child.share.next_ticket() == 9  # whichever slot is free: it waits in line as any other
