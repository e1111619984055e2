"""A child's share of one stream: the samples its parent gave it, and what it has to tell about them."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING, Any

from aioloader.engine.processes.facts import pack_breakdown, pack_error, pack_spec
from aioloader.engine.processes.spans import pack_spans
from aioloader.engine.processes.wire import Done, ToParent, in_json, pack_arrived
from aioloader.engine.step import Item
from aioloader.errors import DecodeError, InvariantError
from aioloader.redact import shown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioloader.engine.processes.board import Board
    from aioloader.engine.processes.recipe import ChildRecipe
    from aioloader.errors import SampleError
    from aioloader.monitor.stats import Counters
    from aioloader.types import SampleRef, Tree

_REPORT = 16
"""Samples that are reported in one frame at most; fewer when a run is done or nothing is left to decode."""
_REPORT_EVERY_S = 0.5
"""Slow decoders report no later than that: who waits must see that something moves."""


_TELL_SPANS_EVERY_S = 0.25
RECORDED_EVERY_S = 0.02
"""What a child records goes through a socket: fewer spans than the parent's own."""


@dataclass(slots=True)
class _Given:
    epoch: int
    position: int
    sample: SampleRef
    place: tuple[int, int] | None
    run: int


class Share:
    """A worker's plan in a child. Fetching happens on the loop, decoding in a thread: both take the lock."""

    def __init__(
        self,
        number: int,
        recipe: ChildRecipe,
        board: Board,
        counters: Counters,
        send: Callable[[int, bytes], None],
        post: Callable[[Callable[[], None]], object],
        probe_ticket: int,
    ) -> None:
        self.number = number
        self.recipe = recipe
        self.closed = False
        self.probe_ticket = probe_ticket
        """The one sample that may be decoded before the fields are known."""
        self._board = board
        self._counters = counters
        self._send = send
        self._post = post
        self._lock = threading.RLock()
        self._queue: deque[int] = deque()
        self._given: dict[int, _Given] = {}
        self._arrived: dict[int, Item] = {}  # without a place yet
        self._to_tell: list[int] = []
        self._ready: list[tuple[tuple[int, int], int]] = []  # heap of (place, ticket)
        self._items: dict[int, Item] = {}  # of `_ready`
        self._probe: Item | None = None  # arrived before the fields were known
        self._probe_begun = False
        self._slabs: dict[int, int] = {}
        self._rescued_later: dict[int, list[int]] = {}  # by the step that has to open first
        self._decoding = 0
        self._runs: dict[int, int] = {}  # samples left of each
        self._report: list[tuple[int, float, float, int]] = []
        self._flushed_s = self._told_spans_s = monotonic()
        self._next_run = 0
        self.on_idle: Callable[[], object] | None = None
        """Called once the share is closed and no decode runs."""

    # -- what the parent says, on the loop ----------------------------------------------------------------

    def give(
        self, rows: Sequence[tuple[int, int, int, SampleRef, tuple[int, int] | None]], *, is_rescue: bool = False
    ) -> list[int]:
        """A run: (ticket, epoch, position, sample, place or None) each.

        Of samples whose worker died (``is_rescue``) those are returned that are to be fetched now: the first sample,
        and those of open steps. Those of later steps wait until these open.
        """
        now: list[int] = []
        with self._lock:
            run, self._next_run = self._next_run, self._next_run + 1
            self._runs[run] = len(rows)
            for ticket, epoch, position, sample, place in rows:
                self._given[ticket] = _Given(epoch, position, sample, place, run)
                if not is_rescue or (place is None and ticket != self.probe_ticket):
                    self._queue.append(ticket)
                elif place is None or place[0] in self._slabs or ticket == self.probe_ticket:
                    now.append(ticket)
                else:
                    self._rescued_later.setdefault(place[0], []).append(ticket)
        return now

    def place(self, places: list[tuple[int, int, int]]) -> None:
        """Arrived samples and the (step, slot) that became theirs."""
        with self._lock:
            for ticket, index, slot in places:
                self._given[ticket].place = index, slot
                item = self._arrived.pop(ticket, None)
                if item is not None:
                    self._make_ready(item, (index, slot))

    def open_slab(self, index: int, number: int) -> list[int]:
        """Step ``index`` lies in slab ``number``; steps long past are forgotten. Returns what is to be fetched now."""
        with self._lock:
            self._slabs[index] = number
            if len(self._slabs) > 4096:
                for old in sorted(self._slabs)[:2048]:
                    del self._slabs[old]
            return self._rescued_later.pop(index, [])

    def know_fields(self) -> None:
        """The fields are known: what had to wait for them may be decoded, the first sample written."""
        with self._lock:
            if self._probe is not None and not (self._probe_begun and not self._probe.is_decoded):
                item, self._probe = self._probe, None
                self._enter(item)

    # -- Work: fetching, on the loop ----------------------------------------------------------------------

    def next_ticket(self) -> int | None:
        """The oldest one given and not begun."""
        with self._lock:
            return self._queue.popleft() if self._queue and not self.closed else None

    @property
    def has_more(self) -> bool:
        """Whether one was given and not begun."""
        return bool(self._queue) and not self.closed

    @property
    def has_waiting(self) -> bool:
        """Whether a sample was fetched that no decoder has begun."""
        return bool(self._ready) or (self._probe is not None and not self._probe_begun)

    def sample(self, ticket: int) -> SampleRef:
        """As the parent described it."""
        return self._given[ticket].sample

    def item(self, ticket: int, sample: SampleRef, body: bytes) -> Item:
        """The fetched body of a ticket's sample."""
        given = self._given[ticket]
        return Item(ticket, given.epoch, given.position, sample, body, len(body))

    def offer(self, item: Item) -> None:
        """It waits for a decoder; the parent hears of it where the place is not fixed."""
        with self._lock:
            if self.closed:
                return
            if self.recipe.workspace.arena is None and item.ticket == self.probe_ticket:
                self._probe = item
            else:
                self._enter(item)

    def _enter(self, item: Item) -> None:
        place = self._given[item.ticket].place
        if place is not None:
            self._make_ready(item, place)
            return
        self._arrived[item.ticket] = item
        if not self._to_tell:
            self._post(self.tell_arrived)  # together with what else arrives in this turn of the loop
        self._to_tell.append(item.ticket)

    def tell_arrived(self) -> None:
        """Send what has arrived and was not told yet."""
        with self._lock:
            if self._to_tell:
                told, self._to_tell = self._to_tell, []
                self._send(ToParent.ARRIVED, pack_arrived(self.number, told))

    def _make_ready(self, item: Item, place: tuple[int, int]) -> None:
        self._items[item.ticket] = item
        heappush(self._ready, (place, item.ticket))

    def probe(self, ticket: int) -> list[int]:
        """Another sample is to set the fields: the former one failed. Returns it where it is to be fetched now."""
        with self._lock:
            self.probe_ticket = ticket
            for waiting in self._rescued_later.values():  # for a step that opens only once the fields are known
                if ticket in waiting:
                    waiting.remove(ticket)
                    return [ticket]
            if self.recipe.workspace.arena is None and ticket in self._items:
                self._probe = self._items.pop(ticket)
                self._ready = [(place, other) for place, other in self._ready if other != ticket]
                self._ready.sort()
            elif self.recipe.workspace.arena is None and ticket in self._arrived:
                self._probe = self._arrived.pop(ticket)
                if ticket in self._to_tell:
                    self._to_tell.remove(ticket)
        return []

    # -- Work: decoding, in the decode thread ---------------------------------------------------------------

    def take(self) -> Item | None:
        """The first in the parent's order whose slab is known."""
        with self._lock:
            item = None if self.closed else self._next()
            if item is None:
                return None
            self._decoding += 1
            self._board.enter(self.number, item.ticket)
            return item

    def idle(self) -> None:
        """Nothing can be decoded now: what is done is reported."""
        self.flush()

    def _next(self) -> Item | None:
        workspace = self.recipe.workspace
        if workspace.arena is None:
            if self._probe is None or self._probe_begun:
                return None
            self._probe_begun = True
            return self._probe
        if not self._ready:
            return None
        (index, slot), ticket = self._ready[0]
        number = self._slabs.get(index)
        if number is None:
            return None
        heappop(self._ready)
        item = self._items.pop(ticket)
        item.slot, item.slab = slot, workspace.slab(number)
        return item

    def settle(self, item: Item, spec: Tree) -> None:
        """The parent makes the slabs; until it has, the first sample waits here, decoded."""
        try:
            facts = pack_spec(spec)
        except TypeError as exc:
            raise DecodeError(
                f"the decoder returned a dict in which {exc}", shown_key(item.sample.key), "Use text as names."
            ) from None
        message = {"stream": self.number, "ticket": item.ticket, "key": shown_key(item.sample.key), "spec": facts}
        self._send(ToParent.SPEC, in_json(message))

    def decoded(self, item: Item, duration_s: float, error: SampleError | None) -> None:
        """The slot is filled, or the sample failed, or it was the first and waits."""
        with self._lock:
            self._decoding -= 1
            self._board.leave(self.number, item.ticket)
            if self.closed:
                self._announce_idle()
                return
            if item.slab is None and error is None:
                # The fields came while it was being decoded; `know_fields` may have seen that it was all but done.
                if self.recipe.workspace.arena is not None and self._probe is item:
                    self._probe = None
                    self._enter(item)
                return
            if item.slab is None:
                self._probe, self._probe_begun = None, False
            if error is not None:
                self.failed(item.ticket, error)
                return
            self._report.append((item.ticket, item.fetch_s, duration_s, item.nbytes))
            is_due = self._count_down(item.ticket) or len(self._report) >= _REPORT
            if is_due or monotonic() - self._flushed_s > _REPORT_EVERY_S:
                self.flush()

    def _count_down(self, ticket: int) -> bool:
        """Whether this was the last of its run."""
        run = self._given.pop(ticket).run
        self._runs[run] -= 1
        if self._runs[run]:
            return False
        del self._runs[run]
        return True

    def flush(self) -> None:
        """Report what is done."""
        with self._lock:
            self._flushed_s = monotonic()
            if self._report:
                rows, self._report = self._report, []
                counters = self._counters
                done = Done.of(self.number, counters.in_flight, counters.in_flight_peak, rows)
                self._send(ToParent.DONE, done.pack())
            if self._flushed_s - self._told_spans_s > _TELL_SPANS_EVERY_S:
                self._told_spans_s = self._flushed_s
                self._send(
                    ToParent.SPANS, in_json({"stream": self.number, "spans": pack_spans(self._counters.recorder)})
                )

    def failed(self, ticket: int, error: SampleError) -> None:
        """Told at once, after what is done."""
        with self._lock:
            if self.closed:
                return
            self.flush()
            sample = self._given[ticket].sample
            self._count_down(ticket)
            facts: dict[str, Any] = {"stream": self.number, "ticket": ticket, "error": pack_error(error, sample)}
            self._send(ToParent.FAILED, in_json(facts))

    def enter_user_code(self, ticket: int) -> None:
        """A coroutine of the user's begins."""
        self._board.enter(self.number, ticket)

    def leave_user_code(self, ticket: int) -> None:
        """It has ended."""
        self._board.leave(self.number, ticket)

    def close(self, broken: BaseException | None = None) -> None:
        """Nothing more is done; ``broken`` is for the consumer to hear."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._queue.clear()
            self._ready.clear()
            self._items.clear()
            self._arrived.clear()
            self._rescued_later.clear()
            self._probe = None
        if broken is not None:
            if isinstance(broken, InvariantError) and broken.__cause__ is not None:
                broken.add_note(f"worker process: {type(broken.__cause__).__name__}")
            facts = {"stream": self.number, **pack_breakdown(broken)}
            self._send(ToParent.BROKEN, in_json(facts))

    @property
    def is_idle(self) -> bool:
        """Whether it is closed and no decode of it runs."""
        with self._lock:
            return self.closed and self._decoding == 0

    def _announce_idle(self) -> None:
        if self._decoding == 0 and self.on_idle is not None:
            self.on_idle()
